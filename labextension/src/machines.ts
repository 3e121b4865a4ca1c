// The machines that are rented now and those that can be: read while they are unfolded.

import type { TranslationBundle } from "@jupyterlab/translation";

import type { Ask } from "./asking";
import { make } from "./row";
import { duration, rate, UCREDITS_PER_USD } from "./words";
import type { InstanceList, InstanceView, MachineList } from "./wire";

const GIB = 2 ** 30;
const OVER = new Set(["terminated", "orphan"]);
const COMING = new Set(["intent", "requested", "pending"]);

/** `g5.xlarge · $0.44/h · idle, ends in 4 min 10 s`, of those that are there. */
export function rentedLines(found: InstanceList, now: number, trans: TranslationBundle): string[] {
  const there = found.instances.filter((one) => !OVER.has(one.state));
  return there.map((one) => [one.machine, rate((one.usd_per_h ?? 0) * UCREDITS_PER_USD), doing(one, now, trans)].join(" · "));
}

function doing(one: InstanceView, now: number, trans: TranslationBundle): string {
  if (one.busy) return trans.__("busy");
  if (one.state === "ready" && one.ends_at) return trans.__("idle, ends in %1", duration(Math.max(0, one.ends_at - now)));
  if (COMING.has(one.state)) return one.step || trans.__("starting");
  return one.state === "ready" ? trans.__("ready") : trans.__("ending");
}

export function machineLines(found: MachineList, trans: TranslationBundle): string[] {
  return found.machines.map((machine) => {
    const parts = [machine.simulated ? trans.__("%1 (simulated)", machine.id) : machine.id];
    parts.push(rate(machine.usd_per_h * UCREDITS_PER_USD));
    if (machine.gpu) parts.push(`${machine.gpu_count} × ${machine.gpu}`);
    parts.push(trans._n("%1 CPU", "%1 CPUs", machine.cpus), `${Math.round(machine.memory_bytes / GIB)} GiB`);
    const free = found.slots_free?.[machine.id];
    if (free !== undefined) parts.push(trans._n("%1 slot free", "%1 slots free", free));
    return parts.join(" · ");
  }).concat(found.problems ?? []);
}

export class Machines {
  readonly node: HTMLDetailsElement;
  private _rented: HTMLElement;
  private _list: HTMLElement;
  private _looking = false;

  constructor(
    parent: HTMLElement,
    private _ask: Ask,
    private _trans: TranslationBundle,
    say: (text: string) => void,
  ) {
    this.node = make("details", "jr-panel-machines", parent);
    make("summary", "", this.node, _trans.__("Machines"));
    this._rented = make("ul", "jr-panel-rented", this.node);
    this._rented.setAttribute("aria-label", _trans.__("Rented now"));
    this._list = make("ul", "", this.node);
    this._list.setAttribute("aria-label", _trans.__("Can be rented"));
    this.node.ontoggle = () => {
      if (this.node.open) Promise.all([this._read(), this.look()]).catch((error: Error) => say(error.message));
    };
  }

  /** What is rented, again, while that can be seen; one look at a time. */
  async look(): Promise<void> {
    if (!this.node.open || this._looking) return;
    this._looking = true;
    try {
      const found = await this._ask<InstanceList>("GET", "machines/instances");
      this._rented.replaceChildren();
      for (const line of rentedLines(found, Date.now() / 1000, this._trans)) make("li", "", this._rented, line);
    } finally {
      this._looking = false;
    }
  }

  private async _read(): Promise<void> {
    const found = await this._ask<MachineList>("GET", "machines");
    this._list.replaceChildren();
    for (const line of machineLines(found, this._trans)) make("li", "", this._list, line);
  }
}
