import { describe, expect, it } from "vitest";

import { type Ask, BackendError, type Params } from "./asking";
import { costNow, elapsed, Jobs, type Timer } from "./jobs";
import type { AccountSummary, JobView } from "./wire";

const SUMMARY: AccountSummary = {
  running: 0,
  sessions: 0,
  queued: 0,
  rate_ucredits_per_h: 0,
  usd_per_h: 0,
  simulated: false,
  spent_today_ucredits: 0,
  since_at: 0,
  available_ucredits: 0,
  held_ucredits: 0,
  at: 0,
};

function job(id: string, status = "completed", more: Partial<JobView> = {}): JobView {
  const money = { rate_ucredits_per_h: 3600, hold_ucredits: 100, cost_ucredits: 10 };
  return { id, kind: "cell", status, money, submitted_at: 1000 - Number(id), ...more };
}

/** A backend with these jobs, newest first; what was asked of it. */
function backend(jobs: () => JobView[], page = 2): { ask: Ask; asked: [string, Params][]; away: { now: boolean } } {
  const asked: [string, Params][] = [];
  const away = { now: false };
  const answer = (path: string, params: Params): unknown => {
    if (path === "account/summary") return SUMMARY;
    if (path === "sessions") return { sessions: [] };
    if (path !== "jobs") {
      const found = jobs().find((one) => path.endsWith(`/${one.id}`));
      if (!found) throw new BackendError("not_found", "There is no such job.");
      return found;
    }
    const before = jobs().findIndex((one) => one.id === params["before"]);
    const some = jobs().slice(before + 1, before + 1 + page);
    const last = some[some.length - 1];
    return { jobs: some, next: some.length === page && last ? last.id : "" };
  };
  const ask = async (_: string, path: string, params: Params = {}): Promise<unknown> => {
    asked.push([path, params]);
    if (away.now) throw new BackendError("backend_unreachable", "away");
    return answer(path, params);
  };
  return { ask: ask as Ask, asked, away };
}

function timer(hidden = { now: false }): Timer & { waits: number[] } {
  const waits: number[] = [];
  return { waits, setTimeout: (_, ms) => waits.push(ms), clearTimeout: () => undefined, isHidden: () => hidden.now };
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

describe("the jobs of the page", () => {
  it("does not start a backend before the panel is open", async () => {
    const { ask, asked } = backend(() => []);
    const jobs = new Jobs(ask, timer());
    await jobs.refresh();
    expect(asked[0]).toEqual(["jobs", { limit: 100, start: undefined }]);
    jobs.show(true);
    await jobs.refresh();
    expect(asked.filter(([path]) => path === "jobs")[1]![1]["start"]).toBe(1);
  });

  it("does not start one again that is stopped while the panel is open", async () => {
    const { ask, asked } = backend(() => []);
    const jobs = new Jobs(ask, timer());
    jobs.show(true);
    await jobs.refresh();
    await jobs.refresh();
    const starts = asked.filter(([path]) => path === "jobs").map(([, params]) => params["start"]);
    expect(starts).toEqual([1, undefined]);
  });

  it("keeps older pages while the newest is read anew, and reads on from the oldest", async () => {
    let all = ["5", "4", "3", "2", "1"].reverse().map((id) => job(id));
    const { ask } = backend(() => all);
    const jobs = new Jobs(ask, timer());
    await jobs.refresh();
    await jobs.older();
    expect(jobs.jobs.map((one) => one.id)).toEqual(["1", "2", "3", "4"]);
    all = [job("0"), ...all];
    await jobs.refresh();
    expect(jobs.jobs.map((one) => one.id)).toEqual(["0", "1", "2", "3", "4"]);
    await jobs.older();
    expect(jobs.jobs.map((one) => one.id)).toEqual(["0", "1", "2", "3", "4", "5"]);
    expect(jobs.hasOlder).toBe(false);
  });

  it("tells a cancel after which time to kill, but not of a cell in a session", async () => {
    const bodies: unknown[] = [];
    const { ask } = backend(() => [job("0", "running"), job("1", "running", { session: "s" })]);
    const told = (async (method: string, path: string, params: Params, body?: unknown) => {
      if (path.endsWith("/cancel")) return bodies.push(body), job(path.split("/")[1]!, "cancelling");
      return ask(method as "GET", path, params);
    }) as unknown as Ask;
    const jobs = new Jobs(told, timer(), undefined, () => 30);
    await jobs.refresh();
    for (const id of ["0", "1"]) await jobs.cancel(id, false);
    expect(JSON.stringify(bodies)).toBe('[{"force":false,"force_after_s":30},{"force":false}]');
  });

  it("runs a job again in its notebook as it is called now", async () => {
    const bodies: unknown[] = [];
    const { ask } = backend(() => [job("0", "completed", { notebook: "/books/new.ipynb" })]);
    const told = (async (method: string, path: string, params: Params, body?: unknown) => {
      if (path.endsWith("/repeat")) return bodies.push(body), { job: job("1") };
      return ask(method as "GET", path, params);
    }) as unknown as Ask;
    const jobs = new Jobs(told, timer());
    await jobs.refresh();
    expect(await jobs.repeat("0", "1")).toBe("1");
    expect(bodies).toEqual([{ id: "1", notebook: "/books/new.ipynb" }]);
  });

  it("count by the clock of the backend", async () => {
    const { ask } = backend(() => []);
    let now = 5000;
    const jobs = new Jobs(ask, timer(), () => now);
    expect(jobs.backendNow).toBe(5000);
    await jobs.refresh();
    now += 3;
    expect(jobs.backendNow).toBe(SUMMARY.at + 3);
  });

  it("follows a job of an older page that still runs", async () => {
    const all = [job("1"), job("2"), job("3", "running")];
    const { ask } = backend(() => all);
    const jobs = new Jobs(ask, timer());
    await jobs.refresh();
    await jobs.older();
    all[2] = job("3", "failed");
    await jobs.refresh();
    expect(jobs.job("3")?.status).toBe("failed");
  });

  it("says that the backend is away, keeps what it knows, and comes back by itself", async () => {
    const { ask, away } = backend(() => [job("1")]);
    const jobs = new Jobs(ask, timer());
    await jobs.refresh();
    away.now = true;
    await jobs.refresh();
    expect(jobs.trouble?.code).toBe("backend_unreachable");
    expect(jobs.jobs).toHaveLength(1);
    away.now = false;
    await jobs.refresh();
    expect(jobs.trouble).toBeNull();
  });

  it("looks often while its panel is open, less when only the status bar is seen, seldom when nobody looks", async () => {
    let status = "running";
    const { ask, away } = backend(() => [job("1", status)]);
    const hidden = { now: false };
    const clock = timer(hidden);
    const jobs = new Jobs(ask, clock);
    await jobs.refresh();
    status = "completed";
    await jobs.refresh();
    jobs.show(true);
    await jobs.refresh();
    away.now = true;
    await jobs.refresh();
    hidden.now = true;
    await jobs.refresh();
    expect(clock.waits).toEqual([5000, 10_000, 1000, 2000, 30_000]);
  });

  it("hardly asks a Jupyter Server that lacks its part, and no one once it is disposed", async () => {
    const clock = timer();
    const jobs = new Jobs(async () => {
      throw new BackendError("no_extension", "404");
    }, clock);
    await jobs.refresh();
    expect(clock.waits).toEqual([300_000]);
    const last = jobs.refresh();
    jobs.dispose();
    await last;
    expect(clock.waits).toHaveLength(1);
  });

  it("has every job of a burst that came between two looks", async () => {
    let all = [job("500")];
    const { ask } = backend(() => all);
    const jobs = new Jobs(ask, timer());
    await jobs.refresh();
    all = [...range(490, 500).map((i) => job(String(i))), ...all];
    await jobs.refresh();
    expect(jobs.jobs.map((one) => Number(one.id))).toEqual(range(490, 501));
  });

  it("has no gap after more jobs than it reads at once", async () => {
    let all = [job("5000"), job("5001"), job("5002")];
    const { ask } = backend(() => all);
    const jobs = new Jobs(ask, timer());
    await jobs.refresh();
    all = [...range(2000, 5000).map((i) => job(String(i))), ...all];
    await jobs.refresh();
    expect(jobs.jobs.map((one) => Number(one.id))).toEqual(range(2000, 3000));
    await jobs.older();
    expect(jobs.jobs.map((one) => Number(one.id))).toEqual(range(2000, 3002));
  });

  it("follows many open jobs of older pages, some at each look, and forgets what is not there any more", async () => {
    const all = [job("1"), job("2"), ...range(100, 150).map((i) => job(String(i), "queued"))];
    const { ask, asked } = backend(() => all);
    const jobs = new Jobs(ask, timer());
    await jobs.refresh();
    while (jobs.hasOlder) await jobs.older();
    for (let i = 2; i < all.length; i++) all[i] = job(all[i]!.id, "completed");
    all.pop();
    asked.length = 0;
    await jobs.refresh();
    expect(asked.filter(([path]) => path.startsWith("jobs/")).length).toBeLessThanOrEqual(20);
    await jobs.refresh();
    await jobs.refresh();
    expect(jobs.trouble).toBeNull();
    expect(jobs.job("149")).toBeUndefined();
    expect(jobs.jobs.filter((one) => one.status === "queued")).toEqual([]);
  });

  it("tells the end of a job once, and only if it was seen while it went on", async () => {
    const all = [job("1", "running"), job("2")];
    const { ask } = backend(() => all);
    const jobs = new Jobs(ask, timer());
    const ended: string[] = [];
    jobs.ended.connect((_, one) => ended.push(one.id));
    await jobs.refresh();
    all[0] = job("1");
    await jobs.refresh();
    await jobs.refresh();
    expect(ended).toEqual(["1"]);
  });

  it("has one look under way at a time", async () => {
    const { ask, asked } = backend(() => []);
    const jobs = new Jobs(ask, timer());
    await Promise.all([jobs.refresh(), jobs.refresh()]);
    expect(asked.filter(([path]) => path === "jobs")).toHaveLength(1);
  });
});

describe("the figures of a job", () => {
  it("go on between two looks, but not above the hold", () => {
    const running = job("1", "running", { started_at: 90 });
    expect(costNow(running, 100, 105)).toBe(15);
    expect(costNow(running, 100, 1000)).toBe(100);
    expect(elapsed(running, 100)).toBe(10);
  });

  it("stand still when it ended", () => {
    const ended = job("1", "completed", { started_at: 90, ended_at: 95 });
    expect(costNow(ended, 100, 200)).toBe(10);
    expect(elapsed(ended, 200)).toBe(5);
  });
});
