// All jobs of the user, live. Text of users and jobs is only ever textContent. Nothing of JupyterLab
// in here.

import type { TranslationBundle } from "@jupyterlab/translation";

import type { Ask } from "./asking";
import { type Actions, Detail } from "./detail";
import { elapsed, Jobs } from "./jobs";
import { Machines } from "./machines";
import { machineOf, make, Row, titleOf } from "./row";
import { costsNow, credits, duration, money, rate, statusWord } from "./words";
import type { AccountSummary, JobView, SessionView } from "./wire";

const ROW_PX = 52;
const SPARE_ROWS = 5; // drawn above and below what is to be seen
const STATUSES = ["queued", "running", "cancelling", "completed", "failed", "cancelled"];

export function matches(job: JobView, status: string, text: string): boolean {
  if (status && job.status !== status) return false;
  const words = `${job.id} ${titleOf(job)} ${job.machine ?? ""} ${job.notebook ?? ""} ${job.reason ?? ""}`;
  return words.toLowerCase().includes(text.trim().toLowerCase());
}

export class JobsPanel {
  readonly node = document.createElement("div");
  isDisposed = false;
  /** Called with the id of each job that is chosen; empty: none is any more. */
  onChosen: (id: string) => void = () => undefined;
  private _head: HTMLElement;
  private _trouble: HTMLElement;
  private _status: HTMLSelectElement;
  private _text: HTMLInputElement;
  private _list: HTMLElement;
  private _space: HTMLElement;
  private _empty: HTMLElement;
  private _older: HTMLButtonElement;
  private _detail: Detail;
  private _sessions: HTMLElement;
  private _rows = new Map<string, Row>();
  private _found: JobView[] = [];
  private _chosen = "";
  private _told = ""; // who listens knows that this one is chosen
  private _failure = ""; // of what the user asked for last
  private _ticking: number | null = null;
  private _isShown = false;

  constructor(
    private _jobs: Jobs,
    ask: Ask,
    actions: Actions,
    private _trans: TranslationBundle,
  ) {
    this.node.className = "jr-panel";
    const __ = (text: string): string => this._trans.__(text);
    this._head = make("div", "jr-panel-head", this.node);
    this._head.setAttribute("role", "group");
    this._head.setAttribute("aria-label", __("Account"));
    this._trouble = make("div", "jr-panel-trouble", this.node);
    this._trouble.setAttribute("role", "status");
    const filter = make("div", "jr-panel-filter", this.node);
    this._text = make("input", "jr-panel-search", filter);
    this._text.type = "search";
    this._text.placeholder = __("Search jobs");
    this._text.setAttribute("aria-label", __("Search jobs"));
    this._status = make("select", "jr-panel-select", filter);
    this._status.setAttribute("aria-label", __("Status"));
    for (const status of ["", ...STATUSES]) {
      make("option", "", this._status, status ? statusWord(status, this._trans) : __("all")).value = status;
    }
    new Machines(this.node, ask, this._trans, (text) => this._fail(text));
    this._sessions = make("ul", "jr-panel-sessions", this.node);
    this._sessions.setAttribute("aria-label", __("Sessions"));
    this._empty = make("div", "jr-panel-empty", this.node);
    this._list = make("div", "jr-panel-list", this.node);
    this._list.setAttribute("role", "listbox");
    this._list.setAttribute("aria-label", __("Jobs"));
    this._list.tabIndex = 0;
    this._space = make("div", "jr-panel-space", this._list);
    this._older = make("button", "jp-mod-styled jr-panel-older", this.node, __("Older jobs"));
    this._detail = new Detail(this.node, ask, actions, this._trans, (id, force) => this._cancel(id, force), (action) => this._do(action), (id) => this.reveal(id), () => this._close());
    this._text.oninput = this._status.onchange = () => this._draw();
    this._list.onscroll = () => this._drawRows();
    this._list.onkeydown = (event) => this._moved(event);
    this._older.onclick = () => void this._jobs.older().catch((error: Error) => this._fail(error.message));
    this._jobs.changed.connect(this._draw, this);
  }

  dispose(): void {
    if (this.isDisposed) return;
    this._jobs.changed.disconnect(this._draw, this);
    this._tick(false);
    this.isDisposed = true;
  }

  show(shown: boolean): void {
    this._isShown = shown;
    this._jobs.show(shown);
    this._tick(shown);
    this._draw();
  }

  resize(): void {
    this._drawRows();
  }

  /** Clocks and costs go on between two looks. */
  private _tick(on: boolean): void {
    if (this._ticking !== null) window.clearInterval(this._ticking);
    this._ticking = on ? window.setInterval(() => this._drawRows(), 500) : null;
  }

  /** Stands until the user asks for something else. */
  private _fail(text: string): void {
    this._failure = text;
    this._drawTrouble();
  }

  private _drawTrouble(): void {
    const { trouble } = this._jobs;
    const text = trouble ? [trouble.message, trouble.hint].filter(Boolean).join(". ") : this._failure;
    if (this._trouble.textContent !== text) this._trouble.textContent = text; // said once
    this._trouble.hidden = !text;
  }

  private _draw(): void {
    if (!this._isShown) return;
    const jobs = this._jobs;
    const { trouble, summary } = jobs;
    this._drawTrouble();
    this._head.replaceChildren();
    for (const text of summary ? headTexts(summary, this._trans) : []) make("span", "", this._head, text);
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
    this._sessions.replaceChildren();
    for (const session of this._jobs.sessions) {
      make("li", "jr-panel-session", this._sessions, sessionText(session, this._jobs.now, this._trans));
    }
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
      row.draw(job, this._jobs, { at: first + i, of: this._found.length, chosen: job.id === this._chosen });
    });
    for (const [id, row] of this._rows) {
      if (seen.has(id)) continue;
      row.node.remove();
      this._rows.delete(id);
    }
    [...seen].forEach((id, i) => {
      const { node } = this._rows.get(id)!; // a screen reader goes by this order
      if (this._space.children[i] !== node) this._space.insertBefore(node, this._space.children[i] ?? null);
    });
    const chosen = this._rows.get(this._chosen);
    this._list.setAttribute("aria-activedescendant", chosen ? chosen.node.id : "");
  }

  private async _cancel(id: string, force: boolean): Promise<void> {
    this._fail("");
    try {
      await this._jobs.cancel(id, force);
    } catch (error) {
      this._fail((error as Error).message);
      throw error;
    }
  }

  private _do(action: () => Promise<void>): void {
    this._fail("");
    action().catch((error: Error) => this._fail(error.message));
  }

  /** Chooses a job, whatever was searched for. */
  reveal(id: string): void {
    this._text.value = this._status.value = "";
    this._chosen = id;
    this._list.scrollTop = 0;
    this._draw();
  }

  /** As if it was clicked on; empty: none. */
  choose(id: string): void {
    if (id !== this._chosen) this._choose(id || this._chosen);
  }

  private _choose(id: string): void {
    this._fail("");
    this._chosen = this._chosen === id ? "" : id;
    this._drawRows();
    void this._drawDetail();
    this._detail.focus();
  }

  private _close(): void {
    if (this._chosen) this._choose(this._chosen);
    this._list.focus();
  }

  private _moved(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this._list.clientHeight / ROW_PX) - 1);
    const all = this._found.length;
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -all, End: all };
    const step = steps[event.key];
    if (event.key === "Escape" && this._chosen) this._choose(this._chosen);
    if (!step) return;
    event.preventDefault();
    const at = this._found.findIndex((job) => job.id === this._chosen);
    const next = Math.min(all - 1, Math.max(0, at + step));
    this._chosen = this._found[next]!.id;
    const top = next * ROW_PX;
    if (top < this._list.scrollTop) this._list.scrollTop = top;
    const below = top + ROW_PX - this._list.clientHeight;
    if (below > this._list.scrollTop) this._list.scrollTop = below;
    this._drawRows();
    void this._drawDetail();
  }

  private async _drawDetail(): Promise<void> {
    if (this._told !== this._chosen) this.onChosen((this._told = this._chosen));
    try {
      await this._detail.draw(this._jobs.job(this._chosen), this._jobs);
    } catch (error) {
      this._fail((error as Error).message);
    }
  }
}

function headTexts(summary: AccountSummary, trans: TranslationBundle): string[] {
  const spent = trans.__("%1 today", money(summary.spent_today_ucredits));
  const now = costsNow(summary, trans);
  return [credits(summary.available_ucredits), spent, ...(now ? [trans.__("%1 now", now)] : [])];
}

export function sessionText(session: SessionView, now: number, trans: TranslationBundle): string {
  const { job } = session;
  const parts = [trans.__("session %1", session.name), machineOf(job, trans), statusWord(job.status, trans)];
  if (job.money.rate_ucredits_per_h) parts.push(rate(job.money.rate_ucredits_per_h)); // its cost is in the list
  const seconds = elapsed(job, now);
  const busy = job.metrics?.busy_s;
  if (seconds !== null && busy != null) parts.push(trans.__("idle %1 of %2", duration(Math.max(0, seconds - busy)), duration(seconds)));
  return parts.join(" · ");
}
