// Draws the card of a job that a notebook holds: as it was saved, and live again while the job goes
// on, without a kernel. While the kernel that sent the job lives, its own card takes the same place.

import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { Widget } from "@lumino/widgets";

import { type CardModel, View } from "../../jupyter_remote/notebook/card.js";
import type { Cards, CardState } from "./cards";
import { FINAL } from "./jobs";
import { isCard, MIME } from "./saved";

const TICK_MS = 500;
const PATIENCE = 2; // looks at which the job had moved and its card in the page had not

const PLACE = /^jupyter-remote-[0-9a-f]{32}$/; // of the card of a kernel; no other class of the page
const JOB = /^[0-9a-f-]{36}$/;

/** What can be told of a job from its state and from what a page shows of it alike. */
function signature(state: CardState): string {
  const bars = (state["bars"] ?? []) as { fraction: number | null }[];
  return [state.status, ...bars.map(({ fraction }) => (fraction === null ? "" : Math.round(100 * fraction)))].join(" ");
}

function signatureOf(card: Element): string {
  const bars = [...card.querySelectorAll('[role="progressbar"]')];
  const shown = [(card as HTMLElement).dataset["status"], ...bars.map((bar) => bar.getAttribute("aria-valuenow") ?? "")];
  return shown.join(" ");
}

export class CardRenderer extends Widget implements IRenderMime.IRenderer {
  private _view: View | null = null;
  private _state: CardState | null = null;
  private _unwatch: (() => void) | null = null;
  private _timer: number | null = null;
  private _place = document.createElement("div");
  private _seen = { job: "", page: "" };
  private _behind = 0;

  constructor(private _cards: Cards) {
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
    const card: CardModel = { get: () => this._state, send: () => this._noKernel() };
    this._view = new View(card);
    this._place = document.createElement("div");
    if (PLACE.test(data.host ?? "")) this._place.className = data.host!;
    this._place.append(this._view.parts.card);
    this.node.replaceChildren(this._place);
    if (FINAL.has(data.status) || !JOB.test(data.id)) return;
    this._unwatch = this._cards.watch(data.id, (state) => this._draw(state), () => this.isVisible);
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
    this._takeBack(state);
    const shown = this._place.firstElementChild;
    const isOurs = shown === this._view?.parts.card;
    if (FINAL.has(state.status) && (isOurs || signature(state) === this._seen.page)) this._end();
  }

  private _noKernel(): never {
    throw new Error("this card has no kernel");
  }

  /** The card of a kernel that has gone stands still while the job goes on: ours is shown again. */
  private _takeBack(state: CardState): void {
    const shown = this._place.firstElementChild;
    const ours = this._view?.parts.card;
    if (!ours || shown === ours) return;
    const isOver = FINAL.has(state.status);
    const seen = { job: signature(state), page: shown ? signatureOf(shown) : "" };
    const stands = seen.page === this._seen.page && seen.job !== seen.page && (isOver || seen.job !== this._seen.job);
    this._behind = stands ? this._behind + 1 : seen.page === this._seen.page ? this._behind : 0;
    this._seen = seen;
    if (this._behind < PATIENCE && !(isOver && this._behind > 0)) return;
    this._place.replaceChildren(ours);
  }

  private _end(): void {
    this._unwatch?.();
    this._unwatch = null;
    if (this._timer !== null) window.clearInterval(this._timer);
    this._timer = null;
  }
}
