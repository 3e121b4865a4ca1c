// Texts of jobs, and questions, in windows of their own.

import { Dialog, showDialog } from "@jupyterlab/apputils";
import type { TranslationBundle } from "@jupyterlab/translation";
import { Widget } from "@lumino/widgets";

import { type Read, Text } from "./text";

class TextBody extends Widget {
  constructor(private _text: Text) {
    super();
    this.addClass("jr-text");
    this.node.append(_text.node);
  }

  dispose(): void {
    this._text.dispose();
    super.dispose();
  }
}

/** `atEnd`: what came last is to be seen first. */
export async function showText(title: string, read: Read, trans: TranslationBundle, atEnd: boolean): Promise<void> {
  const body = new TextBody(new Text(title, read, trans.__("Nothing yet."), atEnd));
  await showDialog({ title, body, buttons: [Dialog.okButton({ label: trans.__("Close") })], hasClose: true });
}

export async function agreed(title: string, body: string, yes: string, trans: TranslationBundle): Promise<boolean> {
  const buttons = [Dialog.cancelButton({ label: trans.__("Not now") }), Dialog.okButton({ label: yes })];
  return (await showDialog({ title, body, buttons })).button.accept;
}
