// A page that nobody sees asks nothing: its backend may end, and a phone sleep.

import type { Timer } from "../jobs";

/** What of the browser says whether the page is to be seen. */
export interface Sight {
  readonly hidden: boolean;
  addEventListener(type: "visibilitychange", told: () => void, options: { once: boolean }): void;
}

export class SeenTimer implements Timer {
  private _live = new Set<number>();

  constructor(
    private _sight: Sight,
    private _clock: { setTimeout(action: () => void, ms: number): number; clearTimeout(id: number): void },
  ) {}

  setTimeout(action: () => void, ms: number): number {
    const id = this._clock.setTimeout(() => this._when(id, action), ms);
    this._live.add(id);
    return id;
  }

  clearTimeout(id: number): void {
    this._live.delete(id);
    this._clock.clearTimeout(id);
  }

  private _when(id: number, action: () => void): void {
    if (!this._live.has(id)) return;
    if (this._sight.hidden) {
      this._sight.addEventListener("visibilitychange", () => this._when(id, action), { once: true });
      return;
    }
    this._live.delete(id);
    action();
  }
}
