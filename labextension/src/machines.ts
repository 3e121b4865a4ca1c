// The machines that can be rented and what they cost now: read when they are unfolded.

import type { TranslationBundle } from "@jupyterlab/translation";

import type { Ask } from "./asking";
import { make } from "./row";
import { rate } from "./words";
import type { MachineList } from "./wire";

const GIB = 2 ** 30;
const UCREDITS_PER_USD = 1e8;

export function machineLines(found: MachineList, trans: TranslationBundle): string[] {
  return found.machines.map((machine) => {
    const parts = [machine.simulated ? trans.__("%1 (simulated)", machine.id) : machine.id];
    parts.push(rate(machine.usd_per_h * UCREDITS_PER_USD));
    if (machine.gpu) parts.push(`${machine.gpu_count} × ${machine.gpu}`);
    parts.push(trans._n("%1 CPU", "%1 CPUs", machine.cpus), `${Math.round(machine.memory_bytes / GIB)} GiB`);
    const free = found.slots_free?.[machine.id];
    if (free !== undefined) parts.push(trans._n("%1 slot free", "%1 slots free", free));
    return parts.join(" · ");
  });
}

export class Machines {
  readonly node: HTMLDetailsElement;
  private _list: HTMLElement;

  constructor(
    parent: HTMLElement,
    private _ask: Ask,
    private _trans: TranslationBundle,
    say: (text: string) => void,
  ) {
    this.node = make("details", "jr-panel-machines", parent);
    make("summary", "", this.node, _trans.__("Machines"));
    this._list = make("ul", "", this.node);
    this.node.ontoggle = () => {
      if (this.node.open) this._read().catch((error: Error) => say(error.message));
    };
  }

  private async _read(): Promise<void> {
    const found = await this._ask<MachineList>("GET", "machines");
    this._list.replaceChildren();
    for (const line of machineLines(found, this._trans)) make("li", "", this._list, line);
  }
}
