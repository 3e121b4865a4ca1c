// The jobs of the user as the page knows them. Nothing of JupyterLab in here.

import { ISignal, Signal } from "@lumino/signaling";

import { type Ask, BackendError } from "./asking";
import type { JobList, JobView, SessionList, SessionView, AccountSummary } from "./wire";

export const FINAL = new Set(["completed", "failed", "cancelled"]);
const PAGE = 100;
const BUSY_MS = 1000; // between two looks while something runs or the panel is open
const IDLE_MS = 10_000;

/** What decides when to look again; a test has its own. */
export interface Timer {
  setTimeout(action: () => void, ms: number): number;
  clearTimeout(id: number): void;
}

export function isFinal(job: JobView): boolean {
  return FINAL.has(job.status);
}

/** What a job has cost by now, in micro-credits: its clock runs on between two looks. */
export function costNow(job: JobView, readAt: number, now: number): number {
  const cost = job.money.cost_ucredits;
  if (isFinal(job) || job.started_at == null || job.status === "queued") return cost;
  const more = (job.money.rate_ucredits_per_h * Math.max(0, now - readAt)) / 3600;
  return job.money.hold_ucredits ? Math.min(cost + more, job.money.hold_ucredits) : cost + more;
}

/** Seconds that its code has run. */
export function elapsed(job: JobView, now: number): number | null {
  if (job.started_at == null || job.status === "queued") return null;
  return Math.max(0, (job.ended_at ?? now) - job.started_at);
}

export class Jobs {
  /** Newest first. */
  jobs: JobView[] = [];
  sessions: SessionView[] = [];
  summary: AccountSummary | null = null;
  /** Why nothing new is known; null: all is well. */
  trouble: BackendError | null = null;
  /** Seconds since 1970 when this was read. */
  readAt = 0;
  /** Are there older jobs than those here? */
  hasOlder = false;

  private _changed = new Signal<this, void>(this);
  private _ended = new Signal<this, JobView>(this);
  private _shown = false;
  private _timer: number | null = null;
  private _reading: Promise<void> | null = null;
  private _next = "";

  constructor(
    private _ask: Ask,
    private _clock: Timer,
    private _now: () => number = () => Date.now() / 1000,
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** A job that was seen while it went on has ended. */
  get ended(): ISignal<this, JobView> {
    return this._ended;
  }

  get now(): number {
    return this._now();
  }

  /** The panel is open: the backend is started if it must be, and looked at often. */
  show(shown: boolean): void {
    if (this._shown === shown) return;
    this._shown = shown;
    if (shown) void this.refresh();
  }

  job(id: string): JobView | undefined {
    return this.jobs.find((job) => job.id === id);
  }

  /** Looks now; while one look is under way it is that one. */
  refresh(): Promise<void> {
    this._reading ??= this._refresh().finally(() => {
      this._reading = null;
      this._wait();
    });
    return this._reading;
  }

  /** Reads the page of jobs before the oldest one here. */
  async older(): Promise<void> {
    if (!this._next) return;
    const page = await this._ask<JobList>("GET", "jobs", { limit: PAGE, before: this._next });
    const known = new Set(this.jobs.map((job) => job.id));
    this.jobs = [...this.jobs, ...page.jobs.filter((job) => !known.has(job.id))];
    this._goOn(page.next);
    this._changed.emit();
  }

  async cancel(id: string, force: boolean): Promise<void> {
    const job = await this._ask<JobView>("POST", `jobs/${id}/cancel`, {}, { force });
    this.jobs = this.jobs.map((one) => (one.id === id ? job : one));
    this._changed.emit();
    await this.refresh();
  }

  dispose(): void {
    if (this._timer !== null) this._clock.clearTimeout(this._timer);
    Signal.clearData(this);
  }

  private async _refresh(): Promise<void> {
    const start = this._shown ? 1 : undefined;
    try {
      const page = await this._ask<JobList>("GET", "jobs", { limit: PAGE, start });
      const [summary, sessions] = await Promise.all([
        this._ask<AccountSummary>("GET", "account/summary"),
        this._ask<SessionList>("GET", "sessions"),
      ]);
      this.summary = summary;
      this.sessions = sessions.sessions;
      const open = new Set(this.jobs.filter((job) => !isFinal(job)).map((job) => job.id));
      this._take(page);
      await this._lookAfter(page);
      for (const job of this.jobs) if (open.has(job.id) && isFinal(job)) this._ended.emit(job);
      this.trouble = null;
      this.readAt = this._now();
    } catch (error) {
      this.trouble = error instanceof BackendError ? error : new BackendError("page", String(error));
    }
    this._changed.emit();
  }

  /** The newest page over what is known; older ones stay as they were. */
  private _take(page: JobList): void {
    const newest = new Set(page.jobs.map((job) => job.id));
    const older = this.jobs.filter((job) => !newest.has(job.id));
    const oldest = page.jobs[page.jobs.length - 1];
    this.jobs = oldest && page.next ? [...page.jobs, ...older.filter((job) => job.submitted_at <= oldest.submitted_at)] : page.jobs;
    if (this.jobs.length <= page.jobs.length) this._goOn(page.next);
  }

  /** Jobs of older pages that still went on when they were read. */
  private async _lookAfter(page: JobList): Promise<void> {
    const fresh = new Set(page.jobs.map((job) => job.id));
    const open = this.jobs.filter((job) => !fresh.has(job.id) && !isFinal(job));
    const read = await Promise.all(open.map((job) => this._ask<JobView>("GET", `jobs/${job.id}`)));
    const byId = new Map(read.map((job) => [job.id, job]));
    this.jobs = this.jobs.map((job) => byId.get(job.id) ?? job);
  }

  private _goOn(next: string): void {
    this._next = next;
    this.hasOlder = next !== "";
  }

  private _wait(): void {
    if (this._timer !== null) this._clock.clearTimeout(this._timer);
    const busy = this._shown || this.jobs.some((job) => !isFinal(job));
    this._timer = this._clock.setTimeout(() => void this.refresh(), busy && !this.trouble ? BUSY_MS : this._shown ? BUSY_MS * 2 : IDLE_MS);
  }
}
