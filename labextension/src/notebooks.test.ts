import { nullTranslator } from "@jupyterlab/translation";
import { describe, expect, it } from "vitest";

import { codeFor, isRemote, machineFor, machineIn } from "./choice";
import { markText, runsOf } from "./runs";
import { Offers, tooltip } from "./offers";
import { MIME } from "./saved";
import type { PlanReply } from "./wire";

const trans = nullTranslator.load("jupyter_remote");
const ID = "01234567-0123-0123-0123-0123456789ab";
const card = {
  id: ID,
  v: 1,
  status: "running",
  machine: "g5.xlarge",
  simulated: true,
  cost_ucredits: 0,
  bars: [],
  texts: { links: [] },
};
const receipt = { receipt: 1, id: ID, kind: "cell", status: "completed", machine: "g5.xlarge", simulated: true };

function output(data: unknown, metadata: Record<string, unknown> = {}): Parameters<typeof runsOf>[0][number] {
  return { data: { [MIME]: data }, metadata };
}

describe("the machine of a notebook", () => {
  it("is a name, whatever the file says", () => {
    expect(machineIn({ machine: "g5.xlarge.od" })).toBe("g5.xlarge.od");
    for (const told of [undefined, null, 5, "x", {}, { machine: 5 }, { machine: "a\nb" }, { machine: "-m x" }, { machine: "a b" }]) {
      expect(machineIn(told)).toBe("");
    }
  });

  it("is told to a kernel only where one was chosen", () => {
    expect(codeFor("g5.xlarge")).toMatch(/%load_ext jupyter_remote\n%remote use -m g5\.xlarge$/);
    expect(codeFor("")).toMatch(/%load_ext jupyter_remote$/);
    expect(codeFor("a\nb")).toMatch(/%load_ext jupyter_remote$/);
  });

  it("gives way to what the first line of a cell says", () => {
    expect(machineFor("x = 1", "")).toBe("local");
    expect(machineFor("x = 1", "g5.xlarge")).toBe("g5.xlarge");
    expect(machineFor("%%remote_run --bg -m g6.xlarge -q\n1", "g5.xlarge")).toBe("g6.xlarge");
    expect(machineFor("%%remote_run --machine=g6.xlarge\n1", "")).toBe("g6.xlarge");
    expect(machineFor("%%remote_run -d 'a'\nf -m g6.xlarge", "g5.xlarge")).toBe("g5.xlarge");
    for (const line of ["--gpu A10G", "-s lab", "--compare a,b", "-m a --gpu T4:1"]) {
      expect(machineFor(`%%remote_run ${line}\n1`, "g5.xlarge")).toBeNull();
    }
  });

  it("does not matter to a cell that has the magic already", () => {
    expect(isRemote("\n%%remote_run -q\n1")).toBe(true);
    expect(isRemote("%%remote_runs\n1")).toBe(false);
    expect(isRemote("# %%remote_run\n1")).toBe(false);
  });
});

describe("the mark of a cell", () => {
  it("is of its jobs, each once, as their receipts say", () => {
    const told = { jupyter_remote: { receipt: { ...receipt, cost: { total_ucredits: 2e6 }, code_key: "k" } } };
    const [run, ...more] = runsOf([output({ ...card, status: "completed" }), output(undefined, told)]);
    expect(more).toEqual([]);
    expect(run).toMatchObject({ id: ID, isOver: true, ucredits: 2e6, codeKey: "k" });
    expect(markText([run!], trans)).toBe("Ran remotely on g5.xlarge (simulated): $0.0200");
  });

  it("says that a job goes on", () => {
    expect(markText(runsOf([output(card)]), trans)).toBe("Runs remotely on g5.xlarge (simulated)");
  });

  it("adds up what several jobs cost", () => {
    const receipts = ["g5.xlarge", "g6.xlarge"].map((machine, i) => {
      return { ...receipt, simulated: false, id: `${i}`, machine, cost: { total_ucredits: 1e6 } };
    });
    const runs = runsOf([output(undefined, { jupyter_remote: { receipts } })]);
    expect(markText(runs, trans)).toBe("Ran remotely on g5.xlarge, g6.xlarge: $0.0200");
  });

  it("is not there for an output that is not ours, or of another version, or broken", () => {
    const outputs = [output("x"), output({ ...card, v: 99 }), output(null, { jupyter_remote: 5 })];
    outputs.push(output(undefined, { jupyter_remote: { receipt: null, receipts: "x" } }), output(undefined, {}));
    expect(runsOf(outputs)).toEqual([]);
  });
});

describe("the tooltip of the button", () => {
  const machine = { id: "g5.xlarge", usd_per_h: 1.006, simulated: false } as PlanReply["machine"];
  const told = { machine, rate_ucredits_per_h: 1e8 } as PlanReply;

  it("says machine and price, and what is expected where somebody knows", () => {
    expect(tooltip(null, null, trans)).toBe("Run this cell remotely, as its first line or %remote use says");
    expect(tooltip("g5.xlarge", null, trans)).toBe("Run this cell remotely on g5.xlarge");
    expect(tooltip("g5.xlarge", told, trans)).toBe("Run this cell remotely on g5.xlarge · $1.006/h");
    const estimate = { ucredits: { low: 1e6, expected: 2e6, high: 3e6 }, basis: "2 runs of this code" };
    expect(tooltip("g5.xlarge", { ...told, estimate }, trans)).toBe(
      "Run this cell remotely on g5.xlarge · $1.006/h\n≈ $0.0200 (0.0100–0.0300) expected, by 2 runs of this code",
    );
  });

  it("is asked for once a minute at most, and needs no backend", async () => {
    let now = 0;
    const asked: string[] = [];
    const offers = new Offers(async <T>(_method: string, path: string) => {
      asked.push(path);
      if (asked.length > 2) throw new Error("away");
      return told as T;
    }, () => now);
    expect(await offers.plan("g5.xlarge", "n.ipynb", undefined)).toBe(told);
    expect(await offers.plan("g5.xlarge", "n.ipynb", undefined)).toBe(told);
    expect(asked).toEqual(["plans"]);
    now = 61_000;
    expect(await offers.plan("g5.xlarge", "n.ipynb", undefined)).toBe(told);
    now = 122_000;
    expect(await offers.plan("g5.xlarge", "n.ipynb", undefined)).toBeNull();
  });
});
