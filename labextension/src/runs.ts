// The jobs that outputs of a notebook are of. Nothing of JupyterLab in here.

import type { TranslationBundle } from "@jupyterlab/translation";

import type { CardState } from "./cards";
import { FINAL } from "./jobs";
import { isCard, MIME } from "./saved";
import type { Receipt } from "./wire";
import { money } from "./words";

/** A job as an output of a notebook tells of it. */
export interface Run {
  id: string;
  machine: string;
  simulated: boolean;
  isOver: boolean;
  ucredits: number;
  codeKey: string;
}

/** What an output is made of, as far as it matters here. */
export interface Output {
  data: Record<string, unknown>;
  metadata: Record<string, unknown>;
}

/** The jobs that some outputs are of: what a receipt says, else what a card says. */
export function runsOf(outputs: Output[]): Run[] {
  const runs = new Map<string, Run>();
  for (const { data, metadata } of outputs) {
    const card = data[MIME];
    if (isCard(card)) runs.set(card.id, ofCard(card));
    for (const receipt of receiptsIn(metadata["jupyter_remote"])) runs.set(receipt.id, ofReceipt(receipt));
  }
  return [...runs.values()];
}

function receiptsIn(told: unknown): Receipt[] {
  const { receipt, receipts } = (told ?? {}) as { receipt?: unknown; receipts?: unknown };
  const all: unknown[] = Array.isArray(receipts) ? receipts : [receipt];
  return all.filter((one): one is Receipt => typeof (one as Partial<Receipt> | null | undefined)?.id === "string");
}

function ofCard(card: CardState): Run {
  const cost = card["cost_ucredits"];
  return {
    id: card.id,
    machine: String(card.machine),
    simulated: card["simulated"] === true,
    isOver: FINAL.has(card.status),
    ucredits: typeof cost === "number" ? cost : 0,
    codeKey: "",
  };
}

function ofReceipt(receipt: Receipt): Run {
  const cost = receipt.cost?.total_ucredits;
  return {
    id: receipt.id,
    machine: String(receipt.machine ?? "local"),
    simulated: receipt.simulated === true,
    isOver: true,
    ucredits: typeof cost === "number" ? cost : 0,
    codeKey: typeof receipt.code_key === "string" ? receipt.code_key : "",
  };
}

export function markText(runs: Run[], trans: TranslationBundle): string {
  const names = runs.map(({ machine, simulated }) => (simulated ? trans.__("%1 (simulated)", machine) : machine));
  const where = [...new Set(names)].join(", ");
  if (runs.some(({ isOver }) => !isOver)) return trans.__("Runs remotely on %1", where);
  const cost = runs.reduce((sum, { ucredits }) => sum + ucredits, 0);
  return trans.__("Ran remotely on %1: %2", where, cost ? money(cost) : trans.__("free"));
}
