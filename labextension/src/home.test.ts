import { expect, test } from "vitest";

import { broughtHome, type Cell, codeOf, fileOf, type Home, isMissing, isWhole, lastCard, type Output, ownOf, senderOf } from "./home";
import { MIME } from "./saved";

const ID = "0e6fd5f0-7e4c-4c0e-9f51-b0e0f3a1c9d2";
const OTHER = "1e6fd5f0-7e4c-4c0e-9f51-b0e0f3a1c9d2";
const WIDGET = "application/vnd.jupyter.widget-view+json";

function card(status = "running", kind = "cell", id = ID): Output {
  const state = { id, v: 1, kind, status, machine: "local", bars: [], texts: { links: [] }, cell: "c1", cell_code: "x" };
  return { output_type: "display_data", data: { [MIME]: state }, metadata: {} };
}

const text = (value: string, name = "stdout"): Output => ({ output_type: "stream", name, text: value });
const figure = (data: Record<string, unknown>, metadata = {}): Output => ({ output_type: "display_data", data, metadata });
const home = (...outputs: Output[]): Home => ({ card: card("completed"), outputs, cursor: 9, is_over: true });
const never = (): boolean => false;

function brought(shown: Output[], told: Home, isLive = never, text = "%%remote_run\n1"): Output[] | null {
  const held = lastCard(shown)!;
  return broughtHome(shown, held, told, isWhole(held, text), isLive, 7);
}

test("the check sum of a cell is the one that Python makes", () => {
  expect(codeOf("")).toBe("00000000");
  expect(codeOf("123456789")).toBe("cbf43926");
  expect(codeOf("é漢😀")).toBe("f1d73109");
});

test("what stands below the card of a cell is replaced by all that its job showed", () => {
  const shown = [text("a plan"), card(), text("one\n"), text("[a note]\n", "stderr")];
  expect(brought(shown, home(text("one\ntwo\n")))).toEqual([text("a plan"), card("completed"), text("one\ntwo\n")]);
});

test("below a call only the beginning of what it showed is replaced", () => {
  const call = card("running", "call");
  const told = { ...home(text("one\ntwo\n"), figure({ "text/plain": "2" }), text("three\n")), updated: [1] };
  for (const there of [[], [text("on")], [text("one\ntwo\n"), figure({ "text/plain": "1" })]]) {
    expect(brought([call, ...there], told)).toEqual([told.card, ...told.outputs!]);
  }
  for (const there of [[text("mine\n")], [text("one\n"), figure({})], [text("one", "stderr")]]) {
    expect(brought([call, ...there], told)).toBeNull();
  }
});

test("a display of local code is never taken for the job's, though it has the same types", () => {
  const call = card("running", "call");
  const png = (value: unknown): Output => figure({ "image/png": value, "text/plain": ["<Figure size", " 640x480>"] });
  const its = figure({ "image/png": "its", "text/plain": "<Figure size 640x480>" });
  const told = home(its, text("end\n"), its);
  expect(brought([call, png("mine")], told)).toBeNull();
  expect(brought([call, png("its"), png("mine")], told)).toBeNull();
  expect(brought([call, png("its"), png("its"), png("its")], told)).toBeNull();
  for (const there of [[png("its")], [png("its"), text("end\n"), png(["i", "ts"])]]) {
    expect(brought([call, ...there], told)).toEqual([told.card, ...told.outputs!]);
  }
  expect(brought([call, figure({ "application/json": { a: 1, b: [2] } })], home(figure({ "application/json": { b: [2], a: 1 } })))).not.toBeNull();
});

test("a remote line among local code is treated as a call is", () => {
  const there = [card(), text("mine\n")];
  expect(brought(there, home(text("one\n")), never, "%remote run f()\nprint('mine')")).toBeNull();
});

test("only the last card of a cell counts, and no card of a job without an id", () => {
  const shown = [card("completed", "cell", OTHER), text("its\n"), card("running", "call")];
  expect(lastCard(shown)).toMatchObject({ at: 2, job: ID, isOver: false });
  expect(lastCard([card("running", "cell", "../tokens")])).toBeNull();
  expect(brought(shown, home(text("x")))).toEqual([...shown.slice(0, 2), card("completed"), text("x")]);
});

test("a cell is its own as long as its text is the same, under its id or in a file without ids", () => {
  const job = { cell: "c1", code: codeOf("1 + 1") };
  const cells = (...texts: [string, string][]): Cell[] => texts.map(([id, text]) => ({ id, text }));
  expect(ownOf(job, cells(["c0", "1 + 1"], ["c1", "1 + 1"]))).toBe(1);
  expect(ownOf(job, cells(["c0", "1 + 1"], ["c1", "1 + 2"]))).toBe(-1);
  expect(ownOf(job, cells(["x", "2"], ["y", "1 + 1"]))).toBe(1);
  expect(ownOf(job, cells(["x", "1 + 1"], ["y", "1 + 1"]))).toBe(-1);
});

test("a console, or another notebook with the same kernel, sends for no cell with the same text", () => {
  const sent = (cell: string, keepsIds = true): number => senderOf({ cell, code: codeOf("1 + 1") }, [{ id: "c1", text: "1 + 1" }], keepsIds);
  expect(sent("c1")).toBe(0);
  expect(sent("of-a-console")).toBe(-1);
  expect(sent("of-a-console", false)).toBe(0);
  for (const other of ["", "vscode-notebook-cell:/home/ada/a.ipynb#W0sZmlsZQ=="]) expect(sent(other)).toBe(0);
});

test("below a call what its ending kernel said does not count, nor do carriage returns", () => {
  const call = card("running", "call");
  const note = `[no longer waiting for job ${ID.slice(0, 8)}: %remote attach ${ID.slice(0, 8)} waits again]\n`;
  const interrupt = { output_type: "error", ename: "KeyboardInterrupt", evalue: "", traceback: [] };
  const told = home(text("10 %\r20 %\nend\n"), text("warned\n", "stderr"));
  expect(brought([call, text("20 %\ne"), text(`warned\n${note}`, "stderr"), interrupt], told)).not.toBeNull();
  expect(brought([call, text("30 %\n")], told)).toBeNull();
  expect(brought([call, text("mine\n")], { ...told, cleared: true })).not.toBeNull();
});

test("a job whose last output was on its way is not over", () => {
  const late = card("completed");
  (late["data"] as Record<string, Record<string, unknown>>)[MIME]!["relaying"] = true;
  expect(lastCard([late])).toMatchObject({ isOver: false });
});

test("views of widgets that the page has stay, others are their text", () => {
  const view = figure({ [WIDGET]: { model_id: "m" }, "text/plain": "IntSlider" });
  const beside = figure({ "text/plain": "50 %" }, { beside_widget: true });
  const told = home(view, beside);
  const asText = [figure({ "text/plain": "IntSlider" }), figure({ "text/plain": "50 %" })];
  expect(brought([card()], told)!.slice(1)).toEqual(asText);
  expect(brought([card()], told, (id) => id === "m")!.slice(1)).toEqual([view]);
  expect(brought([card(), view], told)!.slice(1)).toEqual([view]);
});

test("the value of the last expression has the number of its cell", () => {
  const value = { output_type: "execute_result", data: {}, metadata: {}, execution_count: 1 };
  expect(brought([card()], home(value))![1]).toMatchObject({ execution_count: 7 });
});

test("what a page missed is seen, what is only our own words is not", () => {
  const shown = [card(), text("one\n"), text("[a note]\n", "stderr"), figure({})];
  const held = lastCard(shown)!;
  expect(isMissing(shown, held, home(text("one\n"), figure({ "text/plain": "later" })))).toBe(false);
  expect(isMissing(shown, held, home(text("one\ntwo\n"), figure({})))).toBe(true);
  expect(isMissing(shown, held, home(text("one\n"), figure({}), figure({})))).toBe(true);
});

test("text that was written over is brought as pages keep it, and one that they keep is the same", () => {
  const told = home(text("10 %\r20 %\rdone\nab\b\bxy\n\rlast"));
  const kept = text("done\nxy\nlast");
  expect(brought([card()], told)!.slice(1)).toEqual([kept]);
  const shown = [card(), kept];
  expect(isMissing(shown, lastCard(shown)!, told)).toBe(false);
  expect(brought([card("running", "call"), kept], told, never, "fit()")).not.toBeNull();
});

test("a notebook is known by its path, whatever its folder is called", () => {
  expect(fileOf("sub/a b.ipynb", "/home/ada/C# & F?")).toBe("/home/ada/C# & F?/sub/a b.ipynb");
  expect(fileOf("a.ipynb", "/")).toBe("/a.ipynb");
});
