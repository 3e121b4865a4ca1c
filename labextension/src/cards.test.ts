import { describe, expect, it } from "vitest";

import { Cards, type CardState } from "./cards";
import type { Timer } from "./jobs";

const state = (id: string): CardState => ({ id, v: 1, status: "running", machine: "local" });

/** Cards whose backend knows these jobs; what was asked for, and a clock that is moved by hand. */
function page(known: (id: string) => boolean): {
  cards: Cards;
  asked: string[][];
  timers: Map<number, number>;
  hidden: { now: boolean };
} {
  const asked: string[][] = [];
  const timers = new Map<number, number>();
  const hidden = { now: false };
  let last = 0;
  const clock: Timer = {
    setTimeout: (_, ms) => (timers.set((last += 1), ms), last),
    clearTimeout: (id) => void timers.delete(id),
    isHidden: () => hidden.now,
  };
  const read = async (ids: string[]): Promise<CardState[]> => {
    asked.push(ids);
    return ids.filter(known).map(state);
  };
  return { cards: new Cards(read, clock), asked, timers, hidden };
}

describe("the cards of a page", () => {
  it("are asked for together, and each copy is drawn", async () => {
    const { cards, asked } = page(() => true);
    const drawn: string[] = [];
    for (const id of ["a", "a", "b"]) cards.watch(id, (found) => drawn.push(found.id));
    await cards.look();
    expect(asked).toEqual([["a", "b"]]);
    expect(drawn).toEqual(["a", "a", "b"]);
  });

  it("all have their turn, however many there are", async () => {
    const { cards, asked } = page(() => true);
    for (let i = 0; i < 250; i++) cards.watch(String(i), () => undefined);
    for (let i = 0; i < 3; i++) await cards.look();
    expect(asked.map((ids) => ids.length)).toEqual([100, 100, 100]);
    expect(new Set(asked.flat()).size).toBe(250);
  });

  it("of jobs that nobody knows are asked for less and less", async () => {
    const { cards, asked } = page((id) => id === "known");
    cards.watch("known", () => undefined);
    cards.watch("unknown", () => undefined);
    for (let i = 0; i < 64; i++) await cards.look();
    expect(asked.filter((ids) => ids.includes("known"))).toHaveLength(64);
    expect(asked.filter((ids) => ids.includes("unknown"))).toHaveLength(6);
  });

  it("are not asked for where nobody can see them", async () => {
    const { cards, asked, hidden } = page(() => true);
    let seen = false;
    cards.watch("a", () => undefined, () => seen);
    await cards.look();
    expect(asked).toEqual([]);
    seen = true;
    hidden.now = true;
    await cards.look();
    expect(asked).toEqual([]);
    hidden.now = false;
    await cards.look();
    expect(asked).toEqual([["a"]]);
  });

  it("have one look under way and one timer, whoever asks for one more", async () => {
    const { cards, asked, timers } = page(() => true);
    cards.watch("a", () => undefined);
    await Promise.all([cards.look(), cards.look()]);
    await cards.look();
    expect(asked).toHaveLength(2);
    expect(timers.size).toBe(1);
  });

  it("end their looks with the last card", async () => {
    const { cards, timers } = page(() => true);
    const end = cards.watch("a", () => end());
    await cards.look();
    expect(timers.size).toBe(0);
  });
});
