import type { INotebookTracker } from "@jupyterlab/notebook";
import { Signal } from "@lumino/signaling";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { codeOf, type Home, type Output } from "./home";
import { Homecoming, type Ways } from "./homecoming";
import { MIME } from "./saved";
import type { JobView } from "./wire";

const SOURCE = "%%remote_run\nwork()";
const SAVED_AT = 1_000_000;

const idOf = (n: number): string => `00000000-0000-0000-0000-${String(n).padStart(12, "0")}`;
const text = (value: string): Output => ({ output_type: "stream", name: "stdout", text: value });

function card(job: string, cell = "c0", code = SOURCE, status = "running"): Output {
  const state = { id: job, v: 1, kind: "cell", status, machine: "local", bars: [], texts: { links: [] }, submitted_at: SAVED_AT };
  const data = { [MIME]: { ...state, cell, cell_code: codeOf(code) }, "text/plain": "work()\n…" };
  return { output_type: "display_data", data, metadata: {} };
}

/** As far as it is used here. */
class Outputs {
  changed = new Signal<this, void>(this);
  reads = 0;
  constructor(private _list: Output[]) {}
  get length(): number {
    return this._list.length;
  }
  get(i: number): unknown {
    this.reads += 1;
    return { ...this._list[i], type: this._list[i]!.output_type, toJSON: () => this._list[i] };
  }
  set(i: number, value: Output): void {
    this._list[i] = value;
    this.changed.emit();
  }
  add(value: Output): void {
    this.set(this.length, value);
  }
  clear(wait: boolean): void {
    if (!wait) this.fromJSON([]);
  }
  fromJSON(values: Output[]): void {
    this._list = [...values];
    this.changed.emit();
  }
  toJSON(): Output[] {
    return this._list;
  }
}

interface Cell {
  id: string;
  outputs: Outputs;
  sharedModel: { getSource(): string };
  stateChanged: Signal<object, { name: string; newValue: unknown }>;
  [name: string]: unknown;
}

function cellOf(id: string, outputs: Output[], source = SOURCE, executionCount: number | null = 1): Cell {
  const stateChanged = new Signal<object, { name: string; newValue: unknown }>({});
  return { id, type: "code", outputs: new Outputs(outputs), sharedModel: { getSource: () => source }, executionCount, stateChanged };
}

/** A notebook that is open in a page. */
class Open {
  homes = new Map<string, Home>();
  jobs: JobView[] = [];
  asked: string[] = [];
  told: [string, boolean][] = [];
  futures = new Map<Cell, { isDisposed: boolean; dispose(): void }>();
  kernel = { id: "k", status: "idle", hasComm: () => false };
  states = new Map<number, object>([[1, {}]]);
  context;
  connections = 1;
  failing = new Set<string>();

  constructor(public cells: Cell[]) {
    const owner = {};
    const session = { kernel: this.kernel };
    const signals = { statusChanged: 0, kernelChanged: 0, connectionStatusChanged: 0 };
    const sessionContext = { session, ...signals } as Record<string, unknown>;
    for (const name of Object.keys(signals)) sessionContext[name] = new Signal<object, unknown>(owner);
    const list = { changed: new Signal<object, void>(owner), [Symbol.iterator]: () => this.cells[Symbol.iterator]() };
    const model = { cells: list, nbformatMinor: 5, dirty: false, sharedModel: { awareness: { getStates: () => this.states } } };
    const contentsModel = { last_modified: new Date(SAVED_AT * 1000).toISOString(), writable: true };
    this.context = { sessionContext, model, contentsModel, path: "a.ipynb", isDisposed: false, ready: Promise.resolve() };
    const panel = {
      context: this.context,
      isDisposed: false,
      content: {},
    };
    Object.defineProperty(panel.content, "widgets", {
      get: () => this.cells.map((model) => ({ model, outputArea: { future: this.futures.get(model) } })),
    });
    const tracker = {
      widgetAdded: new Signal<object, void>(owner),
      forEach: (each: (one: typeof panel) => void) => each(panel),
      filter: () => [panel],
    };
    const ways: Ways = {
      read: async (job) => {
        this.asked.push(job);
        if (this.failing.has(job)) throw new Error("no answer");
        return this.homes.get(job) ?? null;
      },
      find: async () => this.jobs,
      isShared: async () => this.connections > 1,
      strayed: (job, _, isEdited) => void this.told.push([job, isEdited]),
    };
    const clock = { setTimeout: (action: () => void, ms: number) => Number(setTimeout(action, ms)), clearTimeout };
    new Homecoming(tracker as unknown as INotebookTracker, ways, clock);
  }

  /** The job shows this. */
  shows(job: string, outputs: Output[], more: { status?: string; cell?: string; code?: string } = {}): void {
    const { status = "running", cell = "c0", code = SOURCE } = more;
    const is_over = status !== "running";
    this.homes.set(job, { card: card(job, cell, code, status), outputs, cursor: outputs.length, is_over });
  }

  relays(cell: Cell): { isDisposed: boolean } {
    const future = { isDisposed: false, dispose: () => void (future.isDisposed = true) };
    this.futures.set(cell, future);
    return future;
  }

  emit(signal: string, told: unknown): void {
    (this.context.sessionContext[signal] as Signal<object, unknown>).emit(told);
  }

  change(): void {
    this.context.model.cells.changed.emit();
  }

  below(i: number): Output[] {
    return this.cells[i]!.outputs.toJSON().slice(1);
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  vi.stubGlobal("requestAnimationFrame", (action: () => void) => setTimeout(action, 16));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

test("a cell that is moved while its job goes on gets what comes", async () => {
  const open = new Open([cellOf("c0", [card(idOf(1))])]);
  open.shows(idOf(1), [text("one\n")]);
  await pass(100);
  expect(open.below(0)).toEqual([text("one\n")]);
  open.cells = [cellOf("c0", open.cells[0]!.outputs.toJSON())];
  open.change();
  open.shows(idOf(1), [text("one\ntwo\n")]);
  await pass(3000);
  expect(open.below(0)).toEqual([text("one\ntwo\n")]);
});

test("a job that cannot be read, or that shows very much, holds up no other", async () => {
  const cells = [1, 2, 3].map((n) => cellOf(`c${n}`, [card(idOf(n), `c${n}`)]));
  const open = new Open(cells);
  open.failing.add(idOf(1));
  open.shows(idOf(2), [text("x".repeat(20_000_000))], { cell: "c2" });
  open.shows(idOf(3), [text("one\n")], { cell: "c3" });
  await pass(100);
  open.shows(idOf(3), [text("one\ntwo\n")], { cell: "c3" });
  await pass(1500);
  expect(open.below(2)).toEqual([text("one\ntwo\n")]);
  expect(open.asked.filter((job) => job === idOf(2))).toHaveLength(1);
});

test("of a connection that was lost nothing is mended while the cell still runs", async () => {
  const cell = cellOf("c0", [card(idOf(1)), text("one\n")]);
  const open = new Open([cell]);
  const future = open.relays(cell);
  await pass(100);
  open.kernel.status = "busy";
  open.emit("connectionStatusChanged", "connecting");
  open.emit("connectionStatusChanged", "connected");
  cell.outputs.fromJSON([card(idOf(1), "c0", SOURCE, "completed"), text("one\n"), text("of local code\n")]);
  open.shows(idOf(1), [text("one\n")], { status: "completed" });
  await pass(5000);
  expect(future.isDisposed).toBe(false);
});

test("cells that an earlier page sent, and that the kernel comes to later, get their output", async () => {
  const open = new Open([cellOf("c0", [])]);
  open.kernel.status = "busy";
  await pass(5000);
  open.jobs = [{ id: idOf(1), cell: "c0", cell_code: codeOf(SOURCE), submitted_at: SAVED_AT + 60 } as JobView];
  open.shows(idOf(1), [text("one\n")]);
  open.emit("statusChanged", "busy");
  await pass(3000);
  expect(open.below(0)).toEqual([text("one\n")]);
  open.kernel.status = "idle";
  open.emit("statusChanged", "idle");
  await pass(3000);
  open.cells[0]!.outputs.fromJSON([]); // by hand
  open.emit("statusChanged", "idle");
  await pass(3000);
  expect(open.cells[0]!.outputs.toJSON()).toEqual([]);
});

test("what another page saves, or what cannot be saved, makes a notebook no other one", async () => {
  const job = { id: idOf(1), cell: "c0", cell_code: codeOf(SOURCE), submitted_at: SAVED_AT + 60 } as JobView;
  for (const [connections, writable] of [[2, true], [1, false], [1, true]] as const) {
    const open = new Open([cellOf("c0", [])]);
    const { model, contentsModel } = open.context;
    open.cells[0]!.outputs.changed.connect(() => (model.dirty = true));
    [open.connections, contentsModel.writable, open.jobs] = [connections, writable, [job]];
    open.shows(idOf(1), [text("one\n")], { status: "completed" });
    await pass(100);
    expect(open.below(0)).toEqual([text("one\n")]);
    expect(model.dirty).toBe(connections === 1 && writable);
  }
});

test("a cell that a page of a shared document may relay is left alone", async () => {
  const open = new Open([cellOf("c0", [card(idOf(1))])]);
  open.states = new Map([[1, { user: {} }], [2, { user: {} }]]);
  open.shows(idOf(1), [text("one\n")]);
  await pass(3000);
  expect(open.below(0)).toEqual([]);
  open.states.delete(2);
  await pass(2000);
  expect(open.below(0)).toEqual([text("one\n")]);
});

test("it is said why output is in the panel, and nothing of a copy of its cell", async () => {
  const edited = `${SOURCE} # edited`;
  const mixed = "%remote run work()\nprint('mine')";
  const open = new Open([
    cellOf("c0", [card(idOf(1))], edited),
    cellOf("c1", [card(idOf(2), "c1", mixed), text("mine\n")], mixed),
    cellOf("c2", [card(idOf(3), "c2")]),
    cellOf("copy", [card(idOf(3), "c2")]),
  ]);
  open.shows(idOf(1), [text("one\n")], { status: "completed" });
  open.shows(idOf(2), [text("two\n")], { status: "completed", cell: "c1", code: mixed });
  open.shows(idOf(3), [text("three\n")], { status: "completed", cell: "c2" });
  await pass(3000);
  expect(open.told).toEqual([[idOf(1), true], [idOf(2), false]]);
  expect([0, 1, 2, 3].map((i) => open.below(i))).toEqual([[], [text("mine\n")], [text("three\n")], []]);
});

test("a flood in one cell has no other cell looked through", async () => {
  const open = new Open([cellOf("c0", []), cellOf("c1", [text("a figure")])]);
  await pass(100);
  const before = open.cells[1]!.outputs.reads;
  for (let n = 0; n < 50; n++) {
    open.cells[0]!.outputs.add(text("x"));
    await pass(20);
  }
  expect(open.cells[1]!.outputs.reads).toBe(before);
});

test("the card of a newer version is kept", async () => {
  const newer = card(idOf(9));
  (newer["data"] as Record<string, Record<string, unknown>>)[MIME]!["v"] = 2;
  const open = new Open([cellOf("c0", [newer])]);
  open.jobs = [{ id: idOf(1), cell: "c0", cell_code: codeOf(SOURCE), submitted_at: SAVED_AT + 60 } as JobView];
  open.shows(idOf(1), [text("one\n")]);
  await pass(3000);
  expect(open.cells[0]!.outputs.toJSON()).toEqual([newer]);
});

const CALL = "%remote use\njob = work.submit()\nplot()";
const figure = (png: string): Output => ({ output_type: "display_data", data: { "image/png": png }, metadata: {} });
const sent = (n: number, at: number, code = CALL): JobView =>
  ({ id: idOf(n), cell: "c0", cell_code: codeOf(code), submitted_at: SAVED_AT + at }) as JobView;

test("below the card of a job that is only submitted local output stays, and nothing is said", async () => {
  const open = new Open([cellOf("c0", [card(idOf(1), "", ""), figure("mine")], CALL)]);
  const [shown] = open.cells[0]!.outputs.toJSON();
  (shown!["data"] as Record<string, Record<string, unknown>>)[MIME]!["cell_code"] = "";
  open.shows(idOf(1), [figure("its")], { status: "completed", cell: "" });
  const home = open.homes.get(idOf(1))!;
  (home.card["data"] as Record<string, Record<string, unknown>>)[MIME]!["cell_code"] = "";
  await pass(3000);
  expect(open.cells[0]!.outputs.toJSON()).toEqual([home.card, figure("mine")]);
  expect(open.told).toEqual([]);
});

test("a cell that ran in this page keeps what it shows of local code", async () => {
  const open = new Open([cellOf("c0", [], CALL)]);
  open.kernel.status = "busy";
  open.emit("statusChanged", "busy");
  await pass(500);
  open.cells[0]!.outputs.fromJSON([figure("mine")]);
  open.cells[0]!.stateChanged.emit({ name: "executionCount", newValue: 2 });
  open.kernel.status = "idle";
  open.jobs = [sent(1, 60)];
  open.shows(idOf(1), [text("one\n")], { status: "completed", code: CALL });
  open.emit("statusChanged", "idle");
  await pass(3000);
  expect(open.cells[0]!.outputs.toJSON()).toEqual([figure("mine")]);
});

test("what a cell showed before it sent its job stays above, unless it is of an earlier run", async () => {
  const before = [figure("before"), card(idOf(9), "c0", CALL, "completed"), text("first\n")];
  for (const [count, above] of [[null, before], [7, []]] as const) {
    const open = new Open([cellOf("c0", [...before], CALL, count)]);
    open.jobs = [sent(1, 60)];
    open.shows(idOf(1), [text("one\n")], { status: "completed", code: CALL });
    await pass(3000);
    const { card: own } = open.homes.get(idOf(1))!;
    expect(open.cells[0]!.outputs.toJSON()).toEqual([...above, own, text("one\n")]);
  }
});
