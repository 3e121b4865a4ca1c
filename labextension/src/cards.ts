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

/** One card: how it is drawn, and whether it can be seen now. */
interface Watcher {
  draw: Draw;
  isSeen: () => boolean;
}

/** A job: its cards, at which look it is asked for next, and how often nobody knew it. */
interface Watched {
  cards: Set<Watcher>;
  due: number;
  misses: number;
}

const PERIOD_MS = 1000;
const AWAY_MS = 5000;
const MOST = 100; // of one request: its address must be shorter than what proxies take
const SELDOM = 6; // a job that nobody knows is asked for at every 64th look at last

export class Cards {
  private _watching = new Map<string, Watched>(); // the longest not asked for first
  private _timer: number | null = null;
  private _reading = false;
  private _looks = 0;

  /** `_read`: null where there is no backend. */
  constructor(
    private _read: (ids: string[]) => Promise<CardState[] | null>,
    private _clock: Timer,
  ) {}

  /** Has `draw` called with each new state of a job; returns what ends it. */
  watch(id: string, draw: Draw, isSeen: () => boolean = () => true): () => void {
    const card = { draw, isSeen };
    const watched = this._watching.get(id) ?? { cards: new Set(), due: 0, misses: 0 };
    watched.cards.add(card);
    this._watching.set(id, watched);
    this._wait(0);
    return () => {
      watched.cards.delete(card);
      if (!watched.cards.size && this._watching.get(id) === watched) this._watching.delete(id);
    };
  }

  async look(): Promise<void> {
    if (this._reading) return;
    if (this._timer !== null) this._clock.clearTimeout(this._timer);
    this._timer = null;
    this._reading = true;
    const wait = await this._look(this._due());
    this._reading = false;
    if (this._watching.size) this._wait(wait);
  }

  /** Jobs to ask for: those of cards that can be seen. */
  private _due(): string[] {
    this._looks += 1;
    if (this._clock.isHidden?.()) return [];
    const due = [...this._watching].filter(
      ([, { cards, due }]) => due <= this._looks && [...cards].some(({ isSeen }) => isSeen()),
    );
    const asked = due.slice(0, MOST);
    for (const [id, watched] of asked) {
      this._watching.delete(id);
      this._watching.set(id, watched);
    }
    return asked.map(([id]) => id);
  }

  /** Milliseconds until the next look. */
  private async _look(ids: string[]): Promise<number> {
    if (!ids.length) return PERIOD_MS;
    try {
      const states = await this._read(ids);
      if (!states) return AWAY_MS;
      const known = new Map(states.map((state) => [state.id, state]));
      for (const id of ids) this._tell(id, known.get(id));
      return PERIOD_MS;
    } catch {
      return AWAY_MS; // the cards stay as they were saved
    }
  }

  private _tell(id: string, state: CardState | undefined): void {
    const watched = this._watching.get(id);
    if (!watched) return;
    watched.misses = state ? 0 : Math.min(watched.misses + 1, SELDOM);
    watched.due = this._looks + (state ? 0 : 2 ** watched.misses);
    if (state) for (const { draw } of [...watched.cards]) draw(state);
  }

  private _wait(ms: number): void {
    if (this._timer === null && !this._reading) this._timer = this._clock.setTimeout(() => void this.look(), ms);
  }
}
