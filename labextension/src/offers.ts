// What machines cost, and what a cell is expected to cost: asked seldom, and only of a backend that runs.

import type { TranslationBundle } from "@jupyterlab/translation";

import type { Ask } from "./asking";
import type { Run } from "./runs";
import { interval, rate, UCREDITS_PER_USD } from "./words";
import type { MachineList, MachineType, PlanReply } from "./wire";

const FRESH_MS = 60_000;

export function priceOf(machine: Pick<MachineType, "usd_per_h">): string {
  return rate(machine.usd_per_h * UCREDITS_PER_USD);
}

export function offerText(machine: MachineType, trans: TranslationBundle): string {
  const name = machine.simulated ? trans.__("%1 (simulated)", machine.id) : machine.id;
  return `${name} · ${priceOf(machine)}`;
}

/** Where a cell would run and what it is expected to cost. */
export function tooltip(machine: string | null, told: PlanReply | null, trans: TranslationBundle): string {
  if (machine === null) return trans.__("Run this cell remotely, as its first line or %1 says", "%remote use");
  if (!told) return trans.__("Run this cell remotely on %1", machine);
  const where = trans.__("Run this cell remotely on %1", offerText(told.machine, trans));
  const { ucredits, basis } = told.estimate ?? {};
  if (!ucredits || !told.rate_ucredits_per_h) return where;
  const cost = interval(ucredits.low, ucredits.expected, ucredits.high);
  return `${where}\n${basis ? trans.__("≈ %1 expected, by %2", cost, basis) : trans.__("≈ %1 expected", cost)}`;
}

export class Offers {
  private _plans = new Map<string, { at: number; reply: PlanReply }>();

  constructor(
    private _ask: Ask,
    private _now: () => number = () => Date.now(),
  ) {}

  /** `start`: an embedded backend that does not run is started. */
  async machines(start: boolean): Promise<MachineType[]> {
    const { machines } = await this._ask<MachineList>("GET", "machines", { start: start ? 1 : undefined });
    return [...machines].sort((a, b) => a.usd_per_h - b.usd_per_h || a.id.localeCompare(b.id));
  }

  /** Of a cell that ran before as that code is expected; null: nobody can tell. */
  async plan(machine: string, notebook: string, last: Run | undefined): Promise<PlanReply | null> {
    const body = { need: { machine }, kind: "cell", notebook, code_key: last?.codeKey ?? "" };
    const key = JSON.stringify([body, last?.id]);
    const known = this._plans.get(key);
    if (known && this._now() - known.at < FRESH_MS) return known.reply;
    try {
      const reply = await this._ask<PlanReply>("POST", "plans", {}, body);
      this._plans.delete(key);
      this._plans.set(key, { at: this._now(), reply });
      if (this._plans.size > 100) this._plans.delete(this._plans.keys().next().value!);
      return reply;
    } catch {
      return null; // no backend, or no such machine: the cell will say it
    }
  }
}
