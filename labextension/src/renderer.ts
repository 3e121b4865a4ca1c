// Draws the card of a job that a notebook holds: as it was saved, and live again while the job goes
// on, without a kernel. While the kernel that sent the job lives, its own card takes the same place.

import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { Widget } from "@lumino/widgets";

import { type CardModel, View } from "../../jupyter_remote/notebook/card.js";
import type { Cards, CardState } from "./cards";
import { FINAL } from "./jobs";

export const MIME = "application/vnd.jupyter-remote.job+json";
const VERSION = 1;
const TICK_MS = 500;
const HERE = "here"; // it ran in the notebook's own kernel: no backend knows it

function isCard(data: unknown): data is CardState {
  const state = data as Partial<CardState> | null;
  return typeof state?.id === "string" && typeof state.status === "string" && state.v === VERSION;
}

export class CardRenderer extends Widget implements IRenderMime.IRenderer {
  private _view: View | null = null;
  private _state: CardState | null = null;
  private _unwatch: (() => void) | null = null;
  private _timer: number | null = null;

  constructor(
    private _cards: Cards,
    private _cancel: (id: string, force: boolean) => void,
  ) {
    super();
    this.addClass("jr-renderer");
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const data = model.data[MIME];
    this._end();
    if (!isCard(data)) {
      // made by another version: the text says it as well
      this.node.replaceChildren(String(model.data["text/plain"] ?? "A job of another version."));
      return;
    }
    this._state = data;
    const card: CardModel = {
      get: () => this._state,
      send: ({ job, force }) => this._cancel(job, force),
    };
    this._view = new View(card);
    const place = document.createElement("div");
    if (data.host) place.className = data.host;
    place.append(this._view.parts.card);
    this.node.replaceChildren(place);
    if (FINAL.has(data.status) || data.machine === HERE) return;
    this._unwatch = this._cards.watch(data.id, (state) => this._draw(state));
    this._timer = window.setInterval(() => this._view?.tick(), TICK_MS);
  }

  dispose(): void {
    if (this.isDisposed) return;
    this._end();
    super.dispose();
  }

  private _draw(state: CardState): void {
    this._state = state;
    this._view?.draw();
    if (FINAL.has(state.status)) this._end();
  }

  private _end(): void {
    this._unwatch?.();
    this._unwatch = null;
    if (this._timer !== null) window.clearInterval(this._timer);
    this._timer = null;
  }
}
