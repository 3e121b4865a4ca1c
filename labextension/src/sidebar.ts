// The panel of jobs as a widget of JupyterLab.

import { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";

import type { JobsPanel } from "./panel";

export class Sidebar extends Widget {
  constructor(private _panel: JobsPanel) {
    super({ node: _panel.node });
  }

  dispose(): void {
    if (this.isDisposed) return;
    this._panel.dispose();
    super.dispose();
  }

  protected onAfterShow(_message: Message): void {
    this._panel.show(true);
  }

  protected onAfterHide(_message: Message): void {
    this._panel.show(false);
  }

  protected onResize(_message: Widget.ResizeMessage): void {
    this._panel.resize();
  }
}
