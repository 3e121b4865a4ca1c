// The live card is one piece of JavaScript, for the widget in the kernel and for the renderer here.
declare module "*/notebook/card.js" {
  export interface CardModel {
    get(name: "state"): unknown;
    send(message: { event: string; job: string; force: boolean }): void;
  }
  export class View {
    constructor(model: CardModel);
    parts: { card: HTMLElement };
    draw(): void;
    tick(): void;
  }
}
