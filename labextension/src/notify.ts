// Tells the end of long jobs, with what they cost.

import { Notification } from "@jupyterlab/apputils";
import type { ISettingRegistry } from "@jupyterlab/settingregistry";
import type { TranslationBundle } from "@jupyterlab/translation";

import { elapsed, type Jobs } from "./jobs";
import { titleOf } from "./row";
import type { JobView } from "./wire";
import { duration, money, statusWord } from "./words";

const AFTER_S = 60;

export function endText(job: JobView, trans: TranslationBundle): string {
  const ran = duration(elapsed(job, job.ended_at ?? 0) ?? 0);
  const cost = job.money.rate_ucredits_per_h ? `, ${money(job.money.cost_ucredits)}` : "";
  return `${titleOf(job)}: ${statusWord(job.status, trans)} (${ran}${cost})`;
}

/** `settings`: of the panel; null: the default holds. */
export function tellEnds(jobs: Jobs, settings: ISettingRegistry.ISettings | null, trans: TranslationBundle): void {
  jobs.ended.connect((_, job) => {
    const after = (settings?.composite["notifyAfter"] as number | undefined) ?? AFTER_S;
    if (!after || (elapsed(job, job.ended_at ?? 0) ?? 0) < after) return;
    const tell = { completed: Notification.success, failed: Notification.error }[job.status] ?? Notification.info;
    tell(endText(job, trans), { autoClose: job.status === "completed" ? 10_000 : false });
  });
}
