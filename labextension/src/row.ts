// One job as a line of the panel. Text of users and jobs is only ever textContent.

import type { TranslationBundle } from "@jupyterlab/translation";

import { costNow, elapsed, isFinal, Jobs } from "./jobs";
import { deadline, duration, money, statusWord } from "./words";
import type { Bar, JobView } from "./wire";

const DISARMED_MS = 1500; // after Cancel became Kill: a double click is no order to kill

export type Cancel = (force: boolean) => Promise<void>;

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  parent: HTMLElement,
  text = "",
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  parent.append(node);
  return node;
}

export function outermost(job: JobView): Bar | null {
  return (job.progress ?? []).find((bar) => !bar.parent && bar.state !== "close" && bar.total) ?? null;
}

export function titleOf(job: JobView): string {
  return job.description || `${job.kind} ${job.id.slice(0, 8)}`;
}

export function machineOf(job: JobView, trans: TranslationBundle): string {
  const machine = job.machine ?? "local";
  return job.money.simulated ? trans.__("%1 (simulated)", machine) : machine;
}

/** The end of the line may be cut: what changes, and what went wrong, comes first. */
export function figures(job: JobView, jobs: Pick<Jobs, "readAt" | "now" | "backendNow">, trans: TranslationBundle): string[] {
  const killed = deadline(job, jobs.backendNow);
  const parts = killed ? [killed] : [];
  if (job.money.rate_ucredits_per_h) parts.push(money(costNow(job, jobs.readAt, jobs.now)));
  const seconds = elapsed(job, jobs.now);
  if (seconds !== null) parts.push(duration(seconds));
  const stage = killed ? "" : job.stage; // of before it was to stop
  const why = isFinal(job) ? job.detail || job.reason : job.detail || stage;
  if (why && job.status !== "completed") parts.push(why);
  return [...parts, machineOf(job, trans)];
}

/** Cancel, and once that was asked Kill. */
export class CancelButton {
  readonly node: HTMLButtonElement;
  private _armedAt = 0;

  constructor(
    parent: HTMLElement,
    private _trans: TranslationBundle,
    cancel: Cancel,
  ) {
    this.node = make("button", "jr-panel-cancel", parent);
    this.node.onclick = (event) => {
      event.stopPropagation();
      const force = this._armedAt > 0;
      if (this._isDisarmed(event.timeStamp)) return; // a page that is busy may come to it late
      this._armedAt ||= performance.now();
      cancel(force).catch(() => {
        this._armedAt = 0;
      });
    };
  }

  private _isDisarmed(at: number): boolean {
    return this._armedAt > 0 && at - this._armedAt < DISARMED_MS;
  }

  draw(job: JobView): void {
    if (job.status === "cancelling") this._armedAt ||= performance.now();
    const label = this._armedAt > 0 ? this._trans.__("Kill") : this._trans.__("Cancel");
    this.node.hidden = isFinal(job);
    this.node.textContent = label;
    this.node.setAttribute("aria-label", `${label} ${titleOf(job)}`);
    this.node.setAttribute("aria-disabled", String(this._isDisarmed(performance.now())));
  }
}

export class Row {
  readonly node: HTMLElement;
  private _badge: HTMLElement;
  private _title: HTMLElement;
  private _figures: HTMLElement;
  private _track: HTMLElement;
  private _fill: HTMLElement;
  private _cancel: CancelButton;

  constructor(
    id: string,
    parent: HTMLElement,
    private _trans: TranslationBundle,
    cancel: Cancel,
  ) {
    this.node = make("div", "jr-panel-row", parent);
    this.node.id = `jr-job-${id}`;
    this.node.setAttribute("role", "option");
    const line = make("div", "jr-panel-line", this.node);
    this._badge = make("span", "jr-panel-badge", line);
    this._title = make("span", "jr-panel-title", line);
    this._cancel = new CancelButton(line, _trans, cancel);
    this._cancel.node.tabIndex = -1; // for the mouse: keys find it below the list, for the chosen job
    this._figures = make("div", "jr-panel-figures", this.node);
    this._track = make("div", "jr-panel-track", this.node);
    this._track.setAttribute("role", "progressbar");
    this._fill = make("div", "jr-panel-fill", this._track);
  }

  draw(job: JobView, jobs: Jobs, place: { at: number; of: number; chosen: boolean }): void {
    this.node.dataset["status"] = job.status;
    this.node.setAttribute("aria-selected", String(place.chosen));
    this.node.setAttribute("aria-posinset", String(place.at + 1));
    this.node.setAttribute("aria-setsize", String(place.of));
    this._badge.textContent = statusWord(job.status, this._trans);
    this._title.textContent = this._title.title = titleOf(job);
    this._figures.textContent = figures(job, jobs, this._trans).join(" · ");
    this._figures.title = this._figures.textContent;
    this._cancel.draw(job);
    const bar = isFinal(job) ? null : outermost(job);
    this._track.hidden = !bar;
    if (!bar?.total) return;
    const percent = Math.min(100, Math.max(0, (100 * bar.n) / bar.total));
    this._fill.style.width = `${percent.toFixed(1)}%`;
    this._track.setAttribute("aria-valuenow", percent.toFixed(0));
    this._track.setAttribute("aria-label", bar.description || this._trans.__("progress"));
  }
}
