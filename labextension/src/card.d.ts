// The live card is one piece of JavaScript, for the widget in the kernel and for the renderer here.
declare module "*/notebook/card.js" {
  export interface CardModel {
    get(name: "state"): unknown;
    send(message: { event: string; job: string; force: boolean; force_after_s?: number }): void;
  }
  interface Stoppable {
    status: string;
    kind: string;
    stage?: string;
    session?: string;
    kill_at?: number | null;
  }
  export function cancel(model: Pick<CardModel, "send">, state: Stoppable & { id: string }, force: boolean): Promise<unknown>;
  export function tellSetting(model: Pick<CardModel, "send">, before: number | null | undefined): number | null | undefined;
  export function deadline(job: Stoppable, now: number): string;
  export function forceAfter<T>(job: Stoppable, setting: T): T | undefined;
  export function duration(seconds: number): string;
  export function money(ucredits: number): string;
  export function interval(low: number, expected: number, high: number): string;
  export function rate(ucreditsPerH: number): string;
  export class Graphs {
    constructor(parent: HTMLElement);
    draw(told: unknown): boolean;
  }
  export class View {
    constructor(model: CardModel);
    parts: { card: HTMLElement };
    draw(): void;
    tick(): void;
  }
}
