import type { TranslationBundle } from "@jupyterlab/translation";
import { describe, expect, it } from "vitest";

import { receiptLines } from "./detail";
import { machineLines, rentedLines } from "./machines";
import { figures } from "./row";
import { statusText } from "./words";
import type { AccountSummary, InstanceView, JobView, MachineList, Receipt } from "./wire";

const filled = (text: string, ...given: unknown[]): string => text.replace(/%(\d)/g, (_, i) => String(given[Number(i) - 1]));
const trans = {
  __: filled,
  _n: (one: string, many: string, n: number, ...more: unknown[]) => filled(n === 1 ? one : many, n, ...more),
} as unknown as TranslationBundle;

describe("lines of the panel", () => {
  it("begin with what changes and what went wrong, as their end may be cut", () => {
    const money = { rate_ucredits_per_h: 1e8, hold_ucredits: 0, cost_ucredits: 1e6, simulated: true };
    const job: JobView = { id: "1", kind: "cell", status: "failed", money, machine: "g5", submitted_at: 0, started_at: 1, ended_at: 3 };
    const found = figures({ ...job, detail: "out of memory" }, { readAt: 0, now: 9, backendNow: 9 }, trans);
    expect(found).toEqual(["$0.0100", "2.0 s", "out of memory", "g5 (simulated)"]);
  });

  it("say of what is stopped when it is killed, and what it costs so far", () => {
    const money = { rate_ucredits_per_h: 3600e6, hold_ucredits: 1e9, cost_ucredits: 0, simulated: false };
    const job: JobView = { id: "1", kind: "cell", status: "cancelling", money, machine: "g5", submitted_at: 0, started_at: 1, kill_at: 1007.2 };
    expect(figures(job, { readAt: 1, now: 11, backendNow: 1000 }, trans)).toEqual(["killed in 8 s", "$0.1000", "10 s", "g5"]);
  });

  it("of the status bar count sessions and what waits", () => {
    const summary = { running: 1, sessions: 2, queued: 3, rate_ucredits_per_h: 2e8, spent_today_ucredits: 0 } as AccountSummary;
    expect(statusText(summary, trans)).toBe("1 job · 2 sessions · 3 queued · $2/h");
  });

  it("say what rented machines cost, which is all that is paid", () => {
    const summary = { running: 0, sessions: 0, queued: 0, machines: 1, machines_usd_per_h: 0.4426, rate_ucredits_per_h: 4.426e7 } as AccountSummary;
    expect(statusText(summary, trans)).toBe("0 jobs · 1 machine $0.4426/h");
  });

  it("of rented machines say what they do, and nothing of those that are gone", () => {
    const one = { id: "1", provider: "ec2", machine: "g5.xlarge", usd_per_h: 0.44, state: "ready", spot: true } as InstanceView;
    const instances: InstanceView[] = [
      { ...one, state: "pending", step: "installing" },
      { ...one, slots: 1, busy: 1 },
      { ...one, ends_at: 1250 },
      { ...one, state: "terminating", step: "installing" },
      { ...one, state: "terminated" },
    ];
    expect(rentedLines(instances, 1000, trans)).toEqual([
      "4 rented machines, $1.76/h now",
      "g5.xlarge · spot · $0.44/h · pending: installing",
      "g5.xlarge · spot · $0.44/h · ready · 1 of 1 slots busy",
      "g5.xlarge · spot · $0.44/h · ready · ends in 4 min 10 s unless it is used",
      "g5.xlarge · spot · $0.44/h · terminating",
    ]);
    expect(rentedLines([], 1000, trans)).toEqual([]);
  });

  it("of machines say why a provider says nothing", () => {
    const found = { machines: [], problems: ["ec2: No credentials."] } as unknown as MachineList;
    expect(machineLines(found, trans)).toEqual(["ec2: No credentials."]);
  });

  it("of machines say price, GPUs and what is free", () => {
    const machine = { id: "g5.xlarge.od", cpus: 4, memory_bytes: 16 * 2 ** 30, gpu: "A10G", gpu_count: 1, usd_per_h: 1.006, simulated: true };
    const found = { machines: [machine], slots_free: { "g5.xlarge.od": 1 } } as unknown as MachineList;
    expect(machineLines(found, trans)).toEqual(["g5.xlarge.od (simulated) · $1.006/h · 1 × A10G · 4 CPUs · 16 GiB · 1 slot free"]);
  });

  it("of a receipt say what was not charged, too", () => {
    const receipt = { waited_s: 1, ran_s: 65, cost: { total_ucredits: 1e8, lost_ucredits: 2e8 }, attempts: [{}, {}] } as unknown as Receipt;
    expect(receiptLines(receipt, trans)).toEqual([
      "waited 1.0 s, ran 1 min 05 s",
      "cost $1.00",
      "not charged, lost by the platform: $2.00",
      "2 attempts",
    ]);
  });
});
