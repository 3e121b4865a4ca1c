// What a job showed while no kernel relayed it, put below its card. Nothing of JupyterLab in here.

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
}

/** The last card of a cell. */
export interface Held {
  at: number;
  job: string;
  isCell: boolean; // the job is a cell, not a call in one
  cell: string;
  code: string;
  isOver: boolean;
}

const WIDGET = "application/vnd.jupyter.widget-view+json";
const BESIDE_WIDGET = "beside_widget"; // in metadata: for those who show no widgets
const OVER = ["completed", "failed", "cancelled"];
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
  const { kind, cell, cell_code: code } = card as Record<string, unknown>;
  const isOver = OVER.includes(card.status);
  return { job: card.id, isCell: kind === "cell", cell: String(cell ?? ""), code: String(code ?? ""), isOver };
}

/** Only what stands below the last card of a cell is known to be of one job. */
export function lastCard(outputs: Output[]): Held | null {
  for (let at = outputs.length - 1; at >= 0; at--) {
    const card = cardOf(outputs[at]);
    if (card) return { at, ...card };
  }
  return null;
}

/** Is this the cell, as it was when it ran? `ids`: of all cells of its notebook. */
export function isOwn(card: { cell: string; code: string }, id: string, text: string, ids: Set<string>): boolean {
  return card.code === codeOf(text) && (card.cell === id || !ids.has(card.cell));
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
  const brought = withWidgets(home.outputs ?? [], (id) => kept.has(id) || isLive(id));
  if (!whole && !begins(below, brought)) return null;
  for (const output of brought) if (output.output_type === "execute_result") output["execution_count"] = count;
  return [...shown.slice(0, held.at), home.card, ...brought];
}

function widgetOf(output: Output): string {
  const data = output["data"] as Record<string, { model_id?: unknown }> | undefined;
  return String(data?.[WIDGET]?.model_id ?? "");
}

/** Views of widgets that a page does not have would be errors there; their texts are not. */
function withWidgets(outputs: Output[], isLive: (id: string) => boolean): Output[] {
  const hasLive = outputs.some((output) => widgetOf(output) && isLive(widgetOf(output)));
  const brought: Output[] = [];
  for (const output of outputs) {
    const { [BESIDE_WIDGET]: isBeside, ...metadata } = (output["metadata"] ?? {}) as Record<string, unknown>;
    if (isBeside && hasLive) continue;
    const copy: Output = "metadata" in output ? { ...output, metadata } : { ...output };
    if (widgetOf(output) && !isLive(widgetOf(output))) {
      const { [WIDGET]: _, ...data } = output["data"] as Record<string, unknown>;
      copy["data"] = data;
    }
    brought.push(copy);
  }
  return brought;
}

/** Is what stands there the beginning of what the job showed, and nothing else? */
function begins(there: Output[], all: Output[]): boolean {
  return there.every((output, i) => {
    const whole = all[i];
    if (output.output_type !== whole?.output_type || output["name"] !== whole["name"]) return false;
    if (output.output_type !== "stream") return true;
    const [part, text] = [textOf(output), textOf(whole)];
    return i === there.length - 1 ? text.startsWith(part) : text === part;
  });
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
      .map((output) => (output.output_type === "stream" ? textOf(output) : `\0${output.output_type}\0`))
      .join("");
  return seen(shown.slice(held.at + 1)) !== seen(home.outputs ?? []);
}
