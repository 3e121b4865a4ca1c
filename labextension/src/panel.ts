// The side panel: all jobs of the user, live. Text of users and jobs is only ever textContent.

import type { TranslationBundle } from "@jupyterlab/translation";
import { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";

import type { Ask } from "./asking";
import { costNow, elapsed, isFinal, Jobs } from "./jobs";
import { credits, duration, money, rate } from "./words";
import type { Bar, HistoryReply, JobView, SessionView } from "./wire";

const ROW_PX = 52;
const SPARE_ROWS = 5; // drawn above and below what is to be seen
const DISARMED_MS = 1500; // after Cancel became Kill: a double click is no order to kill
const STATUSES = ["queued", "running", "cancelling", "completed", "failed", "cancelled"];

/** What the panel lets the application do. */
export interface Actions {
  /** Open the notebook that a job came from; null where that cannot be told. */
  open(job: JobView): (() => void) | null;
}

function make<K extends keyof HTMLElementTagNameMap>(
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

export function matches(job: JobView, status: string, text: string): boolean {
  if (status && job.status !== status) return false;
  const words = `${job.id} ${titleOf(job)} ${job.machine ?? ""} ${job.notebook ?? ""} ${job.reason ?? ""}`;
  return words.toLowerCase().includes(text.trim().toLowerCase());
}

export class JobsPanel extends Widget {
  private _head: HTMLElement;
  private _trouble: HTMLElement;
  private _status: HTMLSelectElement;
  private _text: HTMLInputElement;
  private _list: HTMLElement;
  private _space: HTMLElement;
  private _empty: HTMLElement;
  private _older: HTMLButtonElement;
  private _detail: HTMLElement;
  private _sessions: HTMLElement;
  private _rows = new Map<string, Row>();
  private _found: JobView[] = [];
  private _chosen = "";
  private _detailOf = "";
  private _ticking: number | null = null;

  constructor(
    private _jobs: Jobs,
    private _ask: Ask,
    private _actions: Actions,
    private _trans: TranslationBundle,
  ) {
    super();
    this.addClass("jr-panel");
    const __ = (text: string): string => this._trans.__(text);
    this._head = make("div", "jr-panel-head", this.node);
    this._head.setAttribute("aria-label", __("Account"));
    this._trouble = make("div", "jr-panel-trouble", this.node);
    this._trouble.setAttribute("role", "status");
    const filter = make("div", "jr-panel-filter", this.node);
    this._text = make("input", "jp-mod-styled", filter);
    this._text.type = "search";
    this._text.placeholder = __("Search jobs");
    this._text.setAttribute("aria-label", __("Search jobs"));
    this._status = make("select", "jp-mod-styled", filter);
    this._status.setAttribute("aria-label", __("Status"));
    for (const status of ["", ...STATUSES]) {
      make("option", "", this._status, status ? __(status) : __("all")).value = status;
    }
    this._sessions = make("div", "jr-panel-sessions", this.node);
    this._empty = make("div", "jr-panel-empty", this.node);
    this._list = make("div", "jr-panel-list", this.node);
    this._list.setAttribute("role", "listbox");
    this._list.setAttribute("aria-label", __("Jobs"));
    this._list.tabIndex = 0;
    this._space = make("div", "jr-panel-space", this._list);
    this._older = make("button", "jp-mod-styled jr-panel-older", this.node, __("Older jobs"));
    this._detail = make("div", "jr-panel-detail", this.node);
    this._text.oninput = this._status.onchange = () => this._draw();
    this._list.onscroll = () => this._drawRows();
    this._list.onkeydown = (event) => this._moved(event);
    this._older.onclick = () => void this._jobs.older().catch((error) => this._say(String(error)));
    this._jobs.changed.connect(this._draw, this);
  }

  dispose(): void {
    if (this.isDisposed) return;
    this._jobs.changed.disconnect(this._draw, this);
    this._tick(false);
    super.dispose();
  }

  protected onAfterShow(_message: Message): void {
    this._jobs.show(true);
    this._tick(true);
    this._draw();
  }

  protected onAfterHide(_message: Message): void {
    this._jobs.show(false);
    this._tick(false);
  }

  protected onResize(_message: Widget.ResizeMessage): void {
    this._drawRows();
  }

  /** Clocks and costs go on between two looks. */
  private _tick(on: boolean): void {
    if (this._ticking !== null) window.clearInterval(this._ticking);
    this._ticking = on ? window.setInterval(() => this._drawRows(), 500) : null;
  }

  private _say(text: string): void {
    this._trouble.textContent = text;
    this._trouble.hidden = !text;
  }

  private _draw(): void {
    if (!this.isVisible) return;
    const jobs = this._jobs;
    const { trouble, summary } = jobs;
    this._say(trouble ? [trouble.message, trouble.hint].filter(Boolean).join(". ") : "");
    this._head.textContent = summary
      ? [
          credits(summary.available_ucredits),
          this._trans.__("%1 spent today", money(summary.spent_today_ucredits)),
          ...(summary.rate_ucredits_per_h ? [rate(summary.rate_ucredits_per_h)] : []),
        ].join(" · ")
      : "";
    this._drawSessions();
    this._found = jobs.jobs.filter((job) => matches(job, this._status.value, this._text.value));
    this._older.hidden = !jobs.hasOlder;
    this._empty.textContent = this._found.length || trouble ? "" : this._nothing();
    this._space.style.height = `${this._found.length * ROW_PX}px`;
    this._drawRows();
    void this._drawDetail();
  }

  private _nothing(): string {
    if (!this._jobs.readAt) return this._trans.__("Looking for jobs…");
    if (this._jobs.jobs.length) return this._trans.__("No job fits.");
    return this._trans.__("No jobs yet. %1 above a cell runs it as a job.", "%%remote_run");
  }

  private _drawSessions(): void {
    const shown = this._jobs.sessions.map((session) => sessionText(session));
    this._sessions.replaceChildren();
    for (const text of shown) make("div", "jr-panel-session", this._sessions, text);
  }

  /** Only what is to be seen exists: five thousand jobs are as quick as ten. */
  private _drawRows(): void {
    const top = this._list.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE_ROWS);
    const last = Math.ceil((top + this._list.clientHeight) / ROW_PX) + SPARE_ROWS;
    const seen = new Set<string>();
    this._found.slice(first, last).forEach((job, i) => {
      seen.add(job.id);
      let row = this._rows.get(job.id);
      if (!row) {
        row = new Row(job.id, this._space, this._trans, (force) => this._cancel(job.id, force));
        row.node.onclick = () => this._choose(job.id);
        this._rows.set(job.id, row);
      }
      row.node.style.top = `${(first + i) * ROW_PX}px`;
      row.draw(job, this._jobs, job.id === this._chosen);
    });
    for (const [id, row] of this._rows) {
      if (seen.has(id)) continue;
      row.node.remove();
      this._rows.delete(id);
    }
    const chosen = this._rows.get(this._chosen);
    this._list.setAttribute("aria-activedescendant", chosen ? chosen.node.id : "");
  }

  private _cancel(id: string, force: boolean): void {
    this._jobs.cancel(id, force).catch((error: Error) => this._say(error.message));
  }

  private _choose(id: string): void {
    this._chosen = this._chosen === id ? "" : id;
    this._drawRows();
    void this._drawDetail();
  }

  private _moved(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !this._found.length) return;
    event.preventDefault();
    const at = this._found.findIndex((job) => job.id === this._chosen);
    const next = Math.min(this._found.length - 1, Math.max(0, at + step));
    this._chosen = this._found[next]!.id;
    const top = next * ROW_PX;
    if (top < this._list.scrollTop) this._list.scrollTop = top;
    const below = top + ROW_PX - this._list.clientHeight;
    if (below > this._list.scrollTop) this._list.scrollTop = below;
    this._drawRows();
    void this._drawDetail();
  }

  /** The history of the chosen job, in words. */
  private async _drawDetail(): Promise<void> {
    const job = this._jobs.job(this._chosen);
    this._detail.hidden = !job;
    if (!job) {
      this._detailOf = "";
      return;
    }
    const key = `${job.id} ${job.status} ${job.stage ?? ""} ${job.attempt ?? 0}`;
    if (key === this._detailOf) return;
    this._detailOf = key;
    let lines: HistoryReply;
    try {
      lines = await this._ask<HistoryReply>("GET", `jobs/${job.id}/history`);
    } catch (error) {
      this._detailOf = "";
      this._say((error as Error).message);
      return;
    }
    if (this._detailOf !== key) return; // another one was chosen meanwhile
    this._detail.replaceChildren();
    make("div", "jr-panel-title", this._detail, titleOf(job));
    const list = make("ol", "jr-panel-history", this._detail);
    for (const line of lines.history) {
      const item = make("li", "", list);
      make("time", "", item, new Date(line.at * 1000).toLocaleTimeString());
      make("span", "", item, line.text || line.event);
    }
    const open = this._actions.open(job);
    if (open) make("button", "jp-mod-styled", this._detail, this._trans.__("Open notebook")).onclick = open;
    make("code", "jr-panel-command", this._detail, `%remote attach ${job.id.slice(0, 8)}`);
  }
}

function sessionText(session: SessionView): string {
  const { job } = session;
  const parts = [session.name, job.machine ?? "local", job.status];
  if (job.money.rate_ucredits_per_h) parts.push(rate(job.money.rate_ucredits_per_h), money(job.money.cost_ucredits));
  return parts.join(" · ");
}

/** One job of the list. */
class Row {
  readonly node: HTMLElement;
  private _badge: HTMLElement;
  private _title: HTMLElement;
  private _figures: HTMLElement;
  private _track: HTMLElement;
  private _fill: HTMLElement;
  private _button: HTMLButtonElement;
  private _armedAt = 0;

  constructor(
    id: string,
    parent: HTMLElement,
    private _trans: TranslationBundle,
    cancel: (force: boolean) => void,
  ) {
    this.node = make("div", "jr-panel-row", parent);
    this.node.id = `jr-job-${id}`;
    this.node.setAttribute("role", "option");
    const line = make("div", "jr-panel-line", this.node);
    this._badge = make("span", "jr-panel-badge", line);
    this._title = make("span", "jr-panel-title", line);
    this._button = make("button", "jr-panel-cancel", line);
    this._figures = make("div", "jr-panel-figures", this.node);
    this._track = make("div", "jr-panel-track", this.node);
    this._track.setAttribute("role", "progressbar");
    this._fill = make("div", "jr-panel-fill", this._track);
    this._button.onclick = (event) => {
      event.stopPropagation();
      const force = this._armedAt > 0;
      if (force && Date.now() - this._armedAt < DISARMED_MS) return;
      this._armedAt ||= Date.now();
      cancel(force);
    };
  }

  draw(job: JobView, jobs: Jobs, chosen: boolean): void {
    this.node.dataset["status"] = job.status;
    this.node.setAttribute("aria-selected", String(chosen));
    this._badge.textContent = this._trans.__(job.status);
    this._title.textContent = this._title.title = titleOf(job);
    this._figures.textContent = figures(job, jobs).join(" · ");
    this._figures.title = job.detail ?? "";
    this._button.hidden = isFinal(job);
    const asked = this._armedAt > 0 || job.status === "cancelling";
    this._button.textContent = asked ? this._trans.__("Kill") : this._trans.__("Cancel");
    this._button.setAttribute("aria-label", `${this._button.textContent} ${titleOf(job)}`);
    if (job.status === "cancelling") this._armedAt ||= Date.now();
    const bar = isFinal(job) ? null : outermost(job);
    this._track.hidden = !bar;
    if (!bar?.total) return;
    const percent = Math.min(100, Math.max(0, (100 * bar.n) / bar.total));
    this._fill.style.width = `${percent.toFixed(1)}%`;
    this._track.setAttribute("aria-valuenow", percent.toFixed(0));
    this._track.setAttribute("aria-label", bar.description || this._trans.__("progress"));
  }
}

export function figures(job: JobView, jobs: Pick<Jobs, "readAt" | "now">): string[] {
  const parts = [(job.machine ?? "local") + (job.money.simulated ? " (simulated)" : "")];
  const seconds = elapsed(job, jobs.now);
  if (seconds !== null) parts.push(duration(seconds));
  if (job.money.rate_ucredits_per_h) parts.push(money(costNow(job, jobs.readAt, jobs.now)));
  const why = isFinal(job) ? job.detail || job.reason : job.detail || job.stage;
  if (why && job.status !== "completed") parts.push(why);
  return parts;
}
