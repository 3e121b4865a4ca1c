// The status bar: how many run, what they cost an hour, what was spent today.

import type { TranslationBundle } from "@jupyterlab/translation";
import { Widget } from "@lumino/widgets";

import { Jobs } from "./jobs";
import { statusText } from "./words";

export class StatusItem extends Widget {
  private _button: HTMLButtonElement;

  constructor(
    private _jobs: Jobs,
    private _trans: TranslationBundle,
    open: () => void,
  ) {
    super();
    this._button = document.createElement("button");
    this._button.className = "jr-status-item";
    this._button.title = _trans.__("Remote jobs: running, price an hour, spent today");
    this._button.onclick = open;
    this.node.append(this._button);
    _jobs.changed.connect(this._draw, this);
    this._draw();
  }

  dispose(): void {
    if (this.isDisposed) return;
    this._jobs.changed.disconnect(this._draw, this);
    super.dispose();
  }

  private _draw(): void {
    const { summary, trouble } = this._jobs;
    const known = summary && !trouble ? summary : null;
    this._button.textContent = known ? statusText(known, this._trans) : this._trans.__("Remote");
    this._button.classList.toggle("jr-away", !known);
  }
}
