// Texts of jobs, and questions, in windows of their own.

import { Dialog, showDialog } from "@jupyterlab/apputils";
import type { TranslationBundle } from "@jupyterlab/translation";
import { Widget } from "@lumino/widgets";

const AGAIN_MS = 1000;

/** A text that is read again as long as it goes on. */
class Text extends Widget {
  private _pre = document.createElement("pre");
  private _timer = 0;

  constructor(
    label: string,
    private _read: () => Promise<{ text: string; goesOn: boolean }>,
    private _empty: string,
    private _atEnd: boolean,
  ) {
    super();
    this.addClass("jr-text");
    this._pre.tabIndex = 0;
    this._pre.setAttribute("aria-label", label);
    this.node.append(this._pre);
    void this._draw();
  }

  dispose(): void {
    window.clearTimeout(this._timer);
    super.dispose();
  }

  private async _draw(): Promise<void> {
    let told = { text: "", goesOn: false };
    try {
      told = await this._read();
    } catch (error) {
      told.text = (error as Error).message;
    }
    if (this.isDisposed) return;
    const { scrollHeight, scrollTop, clientHeight } = this._pre;
    const text = told.text || this._empty;
    if (this._pre.textContent !== text) this._pre.textContent = text;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < 8; // who looks at something before it goes on doing so
    if (this._atEnd && isAtEnd) this._pre.scrollTop = this._pre.scrollHeight;
    if (told.goesOn) this._timer = window.setTimeout(() => void this._draw(), AGAIN_MS);
  }
}

/** `atEnd`: what came last is to be seen first. */
export async function showText(
  title: string,
  read: () => Promise<{ text: string; goesOn: boolean }>,
  trans: TranslationBundle,
  atEnd: boolean,
): Promise<void> {
  const body = new Text(title, read, trans.__("Nothing yet."), atEnd);
  await showDialog({ title, body, buttons: [Dialog.okButton({ label: trans.__("Close") })], hasClose: true });
}

export async function agreed(title: string, body: string, yes: string, trans: TranslationBundle): Promise<boolean> {
  const buttons = [Dialog.cancelButton({ label: trans.__("Not now") }), Dialog.okButton({ label: yes })];
  return (await showDialog({ title, body, buttons })).button.accept;
}
