// What a job showed while no kernel relayed it, put below its card. Nothing of JupyterLab in here.

import { JSONExt, type ReadonlyPartialJSONValue } from "@lumino/coreutils";

import { isCard, MIME } from "./saved";

/** An output as files of notebooks have it. */
export interface Output {
  output_type: string;
  [name: string]: unknown;
}

/** What the server extension tells of a job: see homecoming.py. */
export interface Home {
  card: Output;
  outputs: Output[] | null; // null: nothing came after the cursor that was given
  cursor: number;
  is_over: boolean;
  cleared?: boolean; // what stood in the cell before is gone
  updated?: number[]; // which outputs the job changed in their place: they were others before
}

/** The last card of a cell. */
export interface Held {
  at: number;
  job: string;
  isCell: boolean; // the job is a cell, not a call in one
  cell: string;
  code: string;
  submittedAt: number;
  isOver: boolean; // and all of its output was there
}

const WIDGET = "application/vnd.jupyter.widget-view+json";
const BESIDE_WIDGET = "beside_widget"; // in metadata: for those who show no widgets
const OVER = ["completed", "failed", "cancelled"];
const CELL = /^[A-Za-z0-9_-]{1,64}$/; // ids of cells in a file; VS Code tells kernels others
const OVER_IT = /([\r\x08])/; // goes back in its line
const JOB = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

/** CRC-32 of a text, as `wire.cell_code_of` makes it. */
export function codeOf(text: string): string {
  let crc = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return ((crc ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
}

export function cardOf(output: Output | undefined): Omit<Held, "at"> | null {
  const card = (output?.["data"] as Record<string, unknown> | undefined)?.[MIME];
  if (!isCard(card) || !JOB.test(card.id)) return null;
  const { kind, cell = "", cell_code: code = "", submitted_at: at, relaying } = card as Record<string, unknown>;
  const isOver = OVER.includes(card.status) && relaying !== true;
  const submittedAt = typeof at === "number" ? at : 0;
  return { job: card.id, isCell: kind === "cell", cell: String(cell), code: String(code), submittedAt, isOver };
}

/** Only what stands below the last card of a cell is known to be of one job. */
export function lastCard(outputs: Output[]): Held | null {
  for (let at = outputs.length - 1; at >= 0; at--) {
    const card = cardOf(outputs[at]);
    if (card) return { at, ...card };
  }
  return null;
}

/** The path by which jobs know a notebook of this server. No address: a folder may be named `C#`. */
export function fileOf(path: string, root: string): string {
  return root.endsWith("/") ? root + path : `${root}/${path}`;
}

/** A cell by its id and its text. */
export interface Cell {
  id: string;
  text: string;
}

/** The cell that sent a job, as it was then; by its text alone where no other has the same, and
 * none that id. -1: none. */
export function ownOf(job: { cell: string; code: string }, cells: Cell[]): number {
  const at = cells.findIndex(({ id }) => id === job.cell);
  if (at >= 0) return codeOf(cells[at]!.text) === job.code ? at : -1;
  const same = cells.flatMap(({ text }, i) => (codeOf(text) === job.code ? [i] : []));
  return same.length === 1 ? same[0]! : -1;
}

/** The cell that sent a job of which it shows nothing. An id that no cell has is of one that was
 * deleted, of a console, or of another notebook with this kernel. `keepsIds`: the file does. */
export function senderOf(job: { cell: string; code: string }, cells: Cell[], keepsIds: boolean): number {
  const isNone = keepsIds && CELL.test(job.cell) && !cells.some(({ id }) => id === job.cell);
  return isNone ? -1 : ownOf(job, cells);
}

/** Is the job all that this cell does? Else its own code may have printed, too. */
export function isWhole(held: Pick<Held, "isCell">, text: string): boolean {
  return held.isCell && /^\s*%%remote_run\b/.test(text);
}

/** What a cell shows with all that its job showed. `null`: something else stands there, too.
 * `whole`: what is there can only be of the job. */
export function broughtHome(
  shown: Output[],
  held: Held,
  home: Home,
  whole: boolean,
  isLive: (widget: string) => boolean,
  count: number | null,
): Output[] | null {
  const below = shown.slice(held.at + 1);
  const kept = new Set(below.map(widgetOf));
  const { brought, updated } = withWidgets(home, (id) => kept.has(id) || isLive(id));
  if (!whole && !home.cleared && !begins(below, brought, held.job, updated)) return null;
  for (const output of brought) if (output.output_type === "execute_result") output["execution_count"] = count;
  return [...shown.slice(0, held.at), home.card, ...brought.map(asPage)];
}

/** As pages keep it: what was written over is gone. */
function asPage(output: Output): Output {
  return output.output_type === "stream" ? { ...output, text: textOf(output).split("\n").map(seen).join("\n") } : output;
}

function widgetOf(output: Output): string {
  const data = output["data"] as Record<string, { model_id?: unknown }> | undefined;
  return String(data?.[WIDGET]?.model_id ?? "");
}

/** Views of widgets that a page does not have would be errors there; their texts are not. */
function withWidgets(home: Home, isLive: (id: string) => boolean): { brought: Output[]; updated: Set<Output> } {
  const outputs = home.outputs ?? [];
  const hasLive = outputs.some((output) => widgetOf(output) && isLive(widgetOf(output)));
  const brought: Output[] = [];
  const updated = new Set<Output>();
  for (const [at, output] of outputs.entries()) {
    const { [BESIDE_WIDGET]: isBeside, ...metadata } = (output["metadata"] ?? {}) as Record<string, unknown>;
    if (isBeside && hasLive) continue;
    const copy: Output = "metadata" in output ? { ...output, metadata } : { ...output };
    if (widgetOf(output) && !isLive(widgetOf(output))) {
      const { [WIDGET]: _, ...data } = output["data"] as Record<string, unknown>;
      copy["data"] = data;
    }
    brought.push(copy);
    if (home.updated?.includes(at)) updated.add(copy);
  }
  return { brought, updated };
}

/** Is this the beginning of what the job showed? Else it is of local code, too. Streams by their
 * text, whatever their order: a slow relay joins what waits. Displays by what they show; those that
 * the job updated by their types, for they showed something else before. */
function begins(there: Output[], all: Output[], job: string, updated: Set<Output>): boolean {
  const bare = withoutNotes(there, job);
  const [displays, its] = [displaysOf(bare), displaysOf(all)];
  if (displays.some((display, i) => !its[i] || !isSameDisplay(display, its[i], updated.has(its[i])))) return false;
  return ["stdout", "stderr"].every((name) => textBegins(streamOf(bare, name), streamOf(all, name)));
}

/** Without what a cell says whose kernel ends: the job goes on. */
function withoutNotes(there: Output[], job: string): Output[] {
  const bare = [...there];
  if (bare[bare.length - 1]?.["ename"] === "KeyboardInterrupt") bare.pop();
  const last = bare[bare.length - 1];
  const note = `[no longer waiting for job ${job.slice(0, 8)}: %remote attach ${job.slice(0, 8)} waits again]\n`;
  if (last?.output_type === "stream" && textOf(last).endsWith(note)) {
    const text = textOf(last).slice(0, -note.length);
    bare.splice(-1, 1, ...(text ? [{ ...last, text }] : []));
  }
  return bare;
}

function displaysOf(outputs: Output[]): Output[] {
  return outputs.filter(({ output_type: type }) => type !== "stream");
}

function isSameDisplay(one: Output, other: Output, isUpdated: boolean): boolean {
  const [shown, told] = [seenOf(one), seenOf(other)];
  const what = (seen: Map<string, ReadonlyPartialJSONValue>): ReadonlyPartialJSONValue =>
    isUpdated ? [...seen.keys()].sort() : Object.fromEntries(seen);
  return one.output_type === other.output_type && JSONExt.deepEqual(what(shown), what(told));
}

/** Files may have a text as its lines. */
function seenOf({ data }: Output): Map<string, ReadonlyPartialJSONValue> {
  const all = Object.entries((data as Record<string, ReadonlyPartialJSONValue> | undefined) ?? {});
  const isLines = (value: unknown): value is string[] => Array.isArray(value) && value.every((line) => typeof line === "string");
  return new Map(all.filter(([kind]) => kind !== WIDGET).map(([kind, value]) => [kind, isLines(value) ? value.join("") : value]));
}

function streamOf(outputs: Output[], name: string): string {
  return outputs.map((output) => (output["name"] === name && output.output_type === "stream" ? textOf(output) : "")).join("");
}

/** Pages and files keep a line as what was written over it left it. */
function textBegins(there: string, whole: string): boolean {
  if (whole.startsWith(there)) return true;
  const lines = there.split("\n");
  const rest = seen(lines.pop()!);
  const told = whole.split("\n");
  if (told.length <= lines.length || lines.some((line, i) => seen(line) !== seen(told[i]!))) return false;
  return told[lines.length]!.split(OVER_IT).some((part) => part.startsWith(rest));
}

/** A line after its carriage returns and backspaces. */
function seen(line: string): string {
  let [shown, at] = ["", 0];
  for (const part of line.split(OVER_IT)) {
    if (part === "\r") at = 0;
    else if (part === "\b") [shown, at] = at ? [shown.slice(0, at - 1) + shown.slice(at), at - 1] : [shown, at];
    else [shown, at] = [shown.slice(0, at) + part + shown.slice(at + part.length), at + part.length];
  }
  return shown;
}

function textOf(output: Output): string {
  const text = output["text"];
  return Array.isArray(text) ? text.join("") : String(text ?? "");
}

/** Does a cell show less, or other things, than its job printed and drew? Our own notes, and what
 * code wrote to stderr between them, are not compared. */
export function isMissing(shown: Output[], held: Held, home: Home): boolean {
  const seen = (outputs: Output[]): string =>
    outputs
      .filter(({ output_type: type, name }) => type !== "error" && name !== "stderr")
      .map((output) => (output.output_type === "stream" ? textOf(asPage(output)) : `\0${output.output_type}\0`))
      .join("");
  return seen(shown.slice(held.at + 1)) !== seen(home.outputs ?? []);
}
