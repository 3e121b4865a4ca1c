// The machines that can be rented and what they cost, and those that are: read while they are unfolded.

import type { TranslationBundle } from "@jupyterlab/translation";

import type { Ask } from "./asking";
import { offerText } from "./offers";
import { make } from "./row";
import { duration } from "./words";
import type { InstanceList, InstanceView, MachineList } from "./wire";

const GIB = 2 ** 30;
const PERIOD_MS = 5000;
const COMING = new Set(["intent", "requested", "pending"]);
const OVER = new Set(["terminated", "orphan"]);

export function machineLines(found: MachineList, trans: TranslationBundle): string[] {
  return found.machines.map((machine) => {
    const parts = [offerText(machine, trans)];
    if (machine.gpu) parts.push(`${machine.gpu_count} × ${machine.gpu}`);
    parts.push(trans._n("%1 CPU", "%1 CPUs", machine.cpus), `${Math.round(machine.memory_bytes / GIB)} GiB`);
    const free = found.slots_free?.[machine.id];
    if (free !== undefined) parts.push(trans._n("%1 slot free", "%1 slots free", free));
    return parts.join(" · ");
  }).concat(found.problems ?? []);
}

/** Those that are there, or are meant to be, and what all of them cost now. */
export function rentedLines(instances: InstanceView[], now: number, trans: TranslationBundle): string[] {
  const there = instances.filter((one) => !OVER.has(one.state));
  if (!there.length) return [];
  const sum = there.reduce((all, one) => all + (one.usd_per_h ?? 0), 0);
  const head = trans._n("%1 rented machine, %2 now", "%1 rented machines, %2 now", there.length, perHour(sum));
  return [head, ...there.map((one) => rentedLine(one, now, trans))];
}

function rentedLine(one: InstanceView, now: number, trans: TranslationBundle): string {
  const parts = [one.machine, one.spot ? trans.__("spot") : trans.__("on demand"), perHour(one.usd_per_h ?? 0)];
  if (one.zone) parts.push(one.zone);
  parts.push(COMING.has(one.state) && one.step ? `${one.state}: ${one.step}` : one.state);
  if (one.slots) parts.push(trans.__("%1 of %2 slots busy", one.busy ?? 0, one.slots));
  if (one.ends_at != null) parts.push(trans.__("ends in %1 unless it is used", duration(Math.max(0, one.ends_at - now))));
  return parts.join(" · ");
}

function perHour(usd: number): string {
  return `$${Number(usd.toPrecision(4))}/h`;
}

export class Machines {
  readonly node: HTMLDetailsElement;
  private _rented: HTMLElement;
  private _list: HTMLElement;
  private _timer = 0;

  constructor(
    parent: HTMLElement,
    private _ask: Ask,
    private _trans: TranslationBundle,
    private _say: (text: string) => void,
  ) {
    this.node = make("details", "jr-panel-machines", parent);
    make("summary", "", this.node, _trans.__("Machines"));
    this._rented = make("ul", "jr-panel-rented", this.node);
    this._rented.setAttribute("aria-label", _trans.__("Rented machines"));
    this._list = make("ul", "", this.node);
    this._list.setAttribute("aria-label", _trans.__("Machine types"));
    this.node.ontoggle = () => {
      window.clearTimeout(this._timer);
      if (this.node.open) void this._look((error) => this._say(error.message));
    };
  }

  /** Later looks are silent: the panel says itself when the backend is away. */
  private async _look(failed: (error: Error) => void): Promise<void> {
    if (!this.node.open || !this.node.isConnected) return;
    if (this.node.offsetParent) await this._read().catch(failed);
    this._timer = window.setTimeout(() => void this._look(() => undefined), PERIOD_MS);
  }

  private async _read(): Promise<void> {
    const [found, { instances }] = await Promise.all([
      this._ask<MachineList>("GET", "machines"),
      this._ask<InstanceList>("GET", "machines/instances"),
    ]);
    this._fill(this._list, machineLines(found, this._trans));
    this._fill(this._rented, rentedLines(instances, Date.now() / 1000, this._trans));
  }

  private _fill(list: HTMLElement, lines: string[]): void {
    list.replaceChildren();
    for (const line of lines) make("li", "", list, line);
  }
}
