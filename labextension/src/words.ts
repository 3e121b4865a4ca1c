// Figures as people read them: those of the cards, and more.

import type { TranslationBundle } from "@jupyterlab/translation";

import { deadline, duration, forceAfter, interval, money, rate } from "../../jupyter_remote/notebook/card.js";
import type { AccountSummary } from "./wire";

export const UCREDITS_PER_USD = 1e8;
export { deadline, duration, forceAfter, interval, money, rate };

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

/** What is paid by the hour: of rented machines all of their time, whatever runs there. */
export function costsNow(summary: AccountSummary, trans: TranslationBundle): string {
  if (!summary.machines) return summary.rate_ucredits_per_h ? rate(summary.rate_ucredits_per_h) : "";
  const cost = rate((summary.machines_usd_per_h ?? 0) * UCREDITS_PER_USD);
  return `${trans._n("%1 machine", "%1 machines", summary.machines)} ${cost}`;
}

export function statusText(summary: AccountSummary, trans: TranslationBundle): string {
  const parts = [trans._n("%1 job", "%1 jobs", summary.running)];
  if (summary.sessions) parts.push(trans._n("%1 session", "%1 sessions", summary.sessions));
  if (summary.queued) parts.push(trans.__("%1 queued", summary.queued));
  const now = costsNow(summary, trans);
  if (now) parts.push(now);
  if (summary.spent_today_ucredits) parts.push(trans.__("%1 today", money(summary.spent_today_ucredits)));
  return parts.join(" · ");
}
