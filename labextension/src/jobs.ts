// The jobs of the user as the page knows them. Nothing of JupyterLab in here.

import { ISignal, Signal } from "@lumino/signaling";

import { type Ask, BackendError } from "./asking";
import { forceAfter } from "./words";
import type { JobList, JobView, SessionList, SessionView, AccountSummary } from "./wire";

export const FINAL = new Set(["completed", "failed", "cancelled"]);
const PAGE = 100;
const MOST_NEW = 1000; // jobs that came between two looks and are all read
const MOST = 10_000; // jobs that are kept: older ones are read again when they are asked for
const FOLLOWED = 20; // open jobs of older pages that one look asks for
const SHOWN_MS = 1000; // between two looks while the panel is open
const RUNNING_MS = 5000; // while it is not, and something runs
const IDLE_MS = 10_000;
const AWAY_MS = 2000; // the panel is open, and the backend does not answer
const UNSEEN_MS = 30_000; // the tab of the browser is not to be seen
const NEVER_MS = 300_000; // Jupyter Server lacks our part

/** What decides when to look again; a test has its own. */
export interface Timer {
  setTimeout(action: () => void, ms: number): number;
  clearTimeout(id: number): void;
  /** Can nobody see the page? */
  isHidden?(): boolean;
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
  private _starts = false;
  private _timer: number | null = null;
  private _reading: Promise<void> | null = null;
  private _next = "";
  private _followed = 0;
  private _most = MOST;
  private _isDisposed = false;

  constructor(
    private _ask: Ask,
    private _clock: Timer,
    private _now: () => number = () => Date.now() / 1000,
    private _forceAfter: () => number | null | undefined = () => undefined,
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

  /** By the clock of the backend, which need not be the browser's. */
  get backendNow(): number {
    return this.summary ? this.summary.at + this.now - this.readAt : this.now;
  }

  /** The panel was opened: the backend is started if it must be, and looked at often. One that is
   * stopped while the panel is open stays so. */
  show(shown: boolean): void {
    if (this._shown === shown) return;
    this._shown = this._starts = shown;
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
    this._most = Math.max(this._most, this.jobs.length);
    this._goOn(page.next);
    this._changed.emit();
  }

  async cancel(id: string, force: boolean): Promise<void> {
    const known = this.job(id);
    const after = known && forceAfter(known, this._forceAfter());
    const job = await this._ask<JobView>("POST", `jobs/${id}/cancel`, {}, { force, force_after_s: after });
    this.jobs = this.jobs.map((one) => (one.id === id ? job : one));
    this._changed.emit();
    await this._reading; // it may have been read before the cancel
    await this.refresh();
  }

  /** Runs once more what a job ran; the id of the new one. */
  async repeat(id: string, newId: string): Promise<string> {
    const notebook = this.job(id)?.notebook;
    const { job } = await this._ask<{ job: JobView }>("POST", `jobs/${id}/repeat`, {}, { id: newId, notebook });
    await this._reading;
    await this.refresh();
    return job.id;
  }

  dispose(): void {
    this._isDisposed = true;
    if (this._timer !== null) this._clock.clearTimeout(this._timer);
    Signal.clearData(this);
  }

  private async _refresh(): Promise<void> {
    try {
      const page = await this._newest();
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

  /** The newest page, and what else is new: up to one that is known already. */
  private async _newest(): Promise<JobList> {
    let page = await this._ask<JobList>("GET", "jobs", { limit: PAGE, start: this._starts ? 1 : undefined });
    this._starts = false;
    const found = [...page.jobs];
    while (this.jobs.length && page.next && found.length < MOST_NEW && !this._knowsAny(page.jobs)) {
      page = await this._ask<JobList>("GET", "jobs", { limit: PAGE, before: page.next });
      found.push(...page.jobs);
    }
    return { jobs: found, next: page.next };
  }

  private _knowsAny(jobs: JobView[]): boolean {
    const known = new Set(this.jobs.map((job) => job.id));
    return jobs.some((job) => known.has(job.id));
  }

  /** The newest page over what is known; older ones stay as they were. */
  private _take(page: JobList): void {
    const newest = new Set(page.jobs.map((job) => job.id));
    const oldest = page.jobs[page.jobs.length - 1];
    const goesOn = oldest && page.next && this._knowsAny(page.jobs);
    const older = goesOn ? this.jobs.filter((job) => !newest.has(job.id) && job.submitted_at <= oldest.submitted_at) : [];
    this.jobs = [...page.jobs, ...older].slice(0, this._most);
    if (!older.length) this._goOn(page.next);
    else if (page.jobs.length + older.length > this._most) this._goOn(this.jobs[this.jobs.length - 1]!.id);
  }

  /** Jobs of older pages that still went on when they were read: some of them at each look. */
  private async _lookAfter(page: JobList): Promise<void> {
    const fresh = new Set(page.jobs.map((job) => job.id));
    const open = this.jobs.filter((job) => !fresh.has(job.id) && !isFinal(job));
    if (this._followed >= open.length) this._followed = 0;
    const some = open.slice(this._followed, this._followed + FOLLOWED);
    const read = new Map(await Promise.all(some.map(async (job) => [job.id, await this._lookAt(job.id)] as const)));
    const ended = [...read.values()].filter((job) => !job || isFinal(job)).length;
    this._followed += some.length - ended;
    this.jobs = this.jobs.map((job) => (read.has(job.id) ? read.get(job.id) : job)).filter((job) => !!job);
  }

  /** null: nobody knows it any more. */
  private async _lookAt(id: string): Promise<JobView | null> {
    try {
      return await this._ask<JobView>("GET", `jobs/${id}`);
    } catch (error) {
      if (error instanceof BackendError && error.code === "not_found") return null;
      throw error;
    }
  }

  private _goOn(next: string): void {
    this._next = next;
    this.hasOlder = next !== "";
  }

  private _wait(): void {
    if (this._timer !== null) this._clock.clearTimeout(this._timer);
    this._timer = this._isDisposed ? null : this._clock.setTimeout(() => void this.refresh(), this._period());
  }

  private _period(): number {
    if (this.trouble?.code === "no_extension") return NEVER_MS;
    if (this._clock.isHidden?.()) return UNSEEN_MS;
    if (this._shown) return this.trouble ? AWAY_MS : SHOWN_MS;
    return !this.trouble && this.jobs.some((job) => !isFinal(job)) ? RUNNING_MS : IDLE_MS;
  }
}
