// The machine of a notebook, in its toolbar.

import { Notification } from "@jupyterlab/apputils";
import type { TranslationBundle } from "@jupyterlab/translation";
import type { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";

import { type Choice, LOCAL } from "./choice";
import { type Offers, offerText } from "./offers";
import { make } from "./row";
import type { MachineType } from "./wire";

export class Chooser extends Widget {
  private _select: HTMLSelectElement;
  private _machines: MachineType[] = [];

  constructor(
    private _choice: Choice,
    private _offers: Offers,
    private _trans: TranslationBundle,
  ) {
    super();
    this.addClass("jr-chooser");
    this._select = make("select", "jr-chooser-select", this.node);
    this._select.title = _trans.__("Where remote cells of this notebook run, and its price");
    this._select.setAttribute("aria-label", _trans.__("Machine of remote cells"));
    this._select.onchange = () => this._choose(this._select.value);
    this._select.onfocus = () => this._read(true);
    _choice.changed.connect(this._draw, this);
    this._draw();
  }

  dispose(): void {
    if (this.isDisposed) return;
    this._choice.changed.disconnect(this._draw, this);
    super.dispose();
  }

  protected onAfterAttach(_message: Message): void {
    this._read(false);
  }

  private _choose(machine: string): void {
    this._choice.choose(machine).catch((error: Error) => {
      Notification.warning(this._trans.__("The kernel does not take %1. %2", machine, error.message), { autoClose: false });
    });
  }

  /** Prices of a backend that runs; when somebody is about to choose one is started. */
  private _read(start: boolean): void {
    this._offers.machines(start).then(
      (machines) => {
        this._machines = machines;
        this._draw();
      },
      () => undefined, // the choice stands, without prices
    );
  }

  private _draw(): void {
    const chosen = this._choice.machine || LOCAL;
    const options = this._machines.map((machine) => [machine.id, offerText(machine, this._trans)] as const);
    const isKnown = options.some(([id]) => id === chosen);
    const unknown = this._machines.length ? this._trans.__("%1 · not offered", chosen) : chosen;
    const all = isKnown ? options : [...options, [chosen, unknown] as const];
    const drawn = JSON.stringify(all);
    if (this._select.dataset["drawn"] !== drawn) {
      this._select.replaceChildren(); // only then: a list that is open would close
      for (const [id, text] of all) make("option", "", this._select, text).value = id;
      this._select.dataset["drawn"] = drawn;
    }
    this._select.value = chosen;
  }
}
