// The output of a job in a window of its own, as its cell would show it.

import { Dialog, showDialog } from "@jupyterlab/apputils";
import { OutputAreaModel, SimplifiedOutputArea } from "@jupyterlab/outputarea";
import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { TranslationBundle } from "@jupyterlab/translation";
import { PanelLayout, Widget } from "@lumino/widgets";

import { broughtHome, cardOf, type Home } from "./home";
import { msToRead, write } from "./write";

const AGAIN_MS = 1000;

/** Outputs that are read again as long as the job goes on. They may be anything: no script runs. */
class Outputs extends Widget {
  private _model = new OutputAreaModel({ trusted: false });
  private _status = new Widget();
  private _timer = 0;
  private _after: number | undefined;

  constructor(
    label: string,
    private _read: (after: number | undefined) => Promise<Home | null>,
    rendermime: IRenderMimeRegistry,
    private _trans: TranslationBundle,
  ) {
    super();
    this.addClass("jr-outputs");
    this.node.tabIndex = 0;
    this.node.setAttribute("aria-label", label);
    this._status.node.setAttribute("role", "status");
    const layout = (this.layout = new PanelLayout());
    layout.addWidget(this._status);
    layout.addWidget(new SimplifiedOutputArea({ model: this._model, rendermime }));
    void this._draw();
  }

  dispose(): void {
    window.clearTimeout(this._timer);
    super.dispose();
    this._model.dispose();
  }

  private async _draw(): Promise<void> {
    let told = "";
    let goesOn = true;
    let wait = AGAIN_MS;
    try {
      const home = await this._read(this._after);
      if (this.isDisposed) return;
      if (home?.outputs) {
        this._show(home);
        wait = Math.max(wait, msToRead(home));
      }
      goesOn = !home?.is_over;
      if (!this._model.length) told = this._trans.__("Nothing yet.");
      if (!goesOn && !this._model.length) told = this._trans.__("It showed nothing.");
    } catch (error) {
      told = (error as Error).message;
    }
    if (this.isDisposed) return;
    this._status.node.textContent = told;
    if (goesOn) this._timer = window.setTimeout(() => void this._draw(), wait);
  }

  private _show(home: Home): void {
    this._after = home.cursor;
    const held = { at: 0, ...cardOf(home.card)! };
    const [, ...outputs] = broughtHome([home.card], held, home, true, () => false, null)!;
    write(this._model, outputs);
  }
}

export async function showOutputs(
  title: string,
  read: (after: number | undefined) => Promise<Home | null>,
  rendermime: IRenderMimeRegistry,
  trans: TranslationBundle,
): Promise<void> {
  const body = new Outputs(title, read, rendermime, trans);
  await showDialog({ title, body, buttons: [Dialog.okButton({ label: trans.__("Close") })], hasClose: true });
}
