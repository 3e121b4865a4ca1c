// What the cards of a page show now: one request for all that go on. Nothing of JupyterLab in here.

import type { Timer } from "./jobs";

/** As render.card_json makes it. */
export interface CardState {
  id: string;
  v: number;
  status: string;
  machine: string;
  host?: string;
  [name: string]: unknown;
}

export type Draw = (state: CardState) => void;

const PERIOD_MS = 1000;
const AWAY_MS = 5000;
const MOST = 200;

export class Cards {
  private _watching = new Map<string, Set<Draw>>();
  private _timer: number | null = null;

  constructor(
    private _read: (ids: string[]) => Promise<CardState[]>,
    private _clock: Timer,
  ) {}

  /** Has `draw` called with each new state of a job; returns what ends it. */
  watch(id: string, draw: Draw): () => void {
    const draws = this._watching.get(id) ?? new Set<Draw>();
    this._watching.set(id, draws.add(draw));
    if (this._timer === null) this._wait(0);
    return () => {
      draws.delete(draw);
      if (!draws.size) this._watching.delete(id);
    };
  }

  async look(): Promise<void> {
    this._timer = null;
    const ids = [...this._watching.keys()].slice(0, MOST);
    if (!ids.length) return;
    let wait = PERIOD_MS;
    try {
      for (const state of await this._read(ids)) {
        for (const draw of [...(this._watching.get(state.id) ?? [])]) draw(state);
      }
    } catch {
      wait = AWAY_MS; // the cards stay as they were saved
    }
    if (this._watching.size) this._wait(wait);
  }

  private _wait(ms: number): void {
    if (this._timer === null) this._timer = this._clock.setTimeout(() => void this.look(), ms);
  }
}
