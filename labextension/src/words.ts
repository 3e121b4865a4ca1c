// Figures as people read them: those of the cards, and more.

import type { TranslationBundle } from "@jupyterlab/translation";

export { duration, money, rate } from "../../jupyter_remote/notebook/card.js";

export function credits(ucredits: number): string {
  const count = ucredits / 1e6;
  return `${count.toLocaleString("en-US", { maximumFractionDigits: count < 100 ? 2 : 0 })} credits`;
}

/** Written out, so that translators find them. */
export function statusWord(status: string, trans: TranslationBundle): string {
  const words: Record<string, string> = {
    queued: trans.__("queued"),
    running: trans.__("running"),
    cancelling: trans.__("cancelling"),
    completed: trans.__("completed"),
    failed: trans.__("failed"),
    cancelled: trans.__("cancelled"),
  };
  return words[status] ?? status;
}
