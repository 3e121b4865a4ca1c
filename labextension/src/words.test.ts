import { afterEach, describe, expect, it, vi } from "vitest";

import { cancel, tellSetting } from "../../jupyter_remote/notebook/card.js";
import { deadline, duration, forceAfter, money, rate } from "./words";

describe("figures", () => {
  it("are those that the cards and the commands say", () => {
    expect([8.4, 125, 11_220, 7200].map(duration)).toEqual(["8.4 s", "2 min 05 s", "3 h 07 min", "2 h"]);
    expect([0, 4000, 1_230_000, 123_456_000_000].map(money)).toEqual(["$0", "<$0.0001", "$0.0123", "$1,234.56"]);
    expect([0, 100_600_000].map(rate)).toEqual(["free", "$1.006/h"]);
  });
});

describe("the kill after a cancel", () => {
  const job = { status: "cancelling", kind: "cell", kill_at: 130 };

  it("is counted down in whole seconds, as the commands say it", () => {
    expect([122.5, 129.9, 130, 0].map((now) => deadline(job, now))).toEqual(["killed in 8 s", "killed in 1 s", "killing…", "killed in 2 min 10 s"]);
  });

  it("may never come, and is only told of what is being stopped", () => {
    expect(deadline({ ...job, kill_at: null }, 0)).toBe("not killed while its code goes on");
    expect(deadline({ ...job, status: "running" }, 0)).toBe("");
    expect(deadline({ ...job, stage: "saving result" }, 122.5)).toBe(""); // its code has ended
  });

  it("is not set for a cell in a session, which would end with it", () => {
    expect(forceAfter({ ...job, session: "1" }, 5)).toBeUndefined();
    expect(forceAfter({ ...job, kind: "session", session: "lab" }, 5)).toBe(5);
    expect(forceAfter(job, 0)).toBe(0);
  });
});

describe("the ways of a cancel", () => {
  const state = { id: "1", status: "running", kind: "cell" };
  const kernel = (send: (message: { content: unknown }) => Promise<void>): { sendControlMessage: unknown } => ({
    sendControlMessage: (message: { content: unknown }) => ({ done: send(message) }),
  });
  const model = (told: unknown[], alive: { sendControlMessage: unknown } | null) => ({
    send: (message: unknown) => void told.push(message),
    widget_manager: { kernel: alive },
  });
  afterEach(() => vi.unstubAllGlobals());

  it("begin with the extension, which tells the time that is set", async () => {
    const told: unknown[] = [];
    vi.stubGlobal("jupyterRemoteCancel", async (...asked: unknown[]) => told.push(asked));
    vi.stubGlobal("jupyterRemoteForceAfter", () => 30);
    await cancel(model(told, null), state, false);
    expect(told).toEqual([["1", false, 30]]);
  });

  it("go on over the control channel, twice, and then over the comm", async () => {
    const told: unknown[] = [];
    vi.stubGlobal("jupyterRemoteCancel", async () => Promise.reject(new Error("no backend")));
    vi.stubGlobal("jupyterRemoteForceAfter", () => 30);
    let tries = 0;
    const alive = kernel(async ({ content }) => {
      tries += 1;
      if (tries === 1) throw new Error("connected anew");
      told.push(content);
    });
    await cancel(model(told, alive), state, true);
    expect(told).toEqual([{ job: "1", force: true, force_after_s: 30 }]);
    await cancel(model(told, null), state, false);
    expect(told[1]).toEqual({ event: "cancel", job: "1", force: false, force_after_s: 30 });
  });

  it("have a kernel know the time for its own stop button, when it is set and when it changes", () => {
    const told: unknown[] = [];
    const alive = model([], kernel(async (message) => void told.push(message)));
    expect(tellSetting(alive, undefined)).toBeUndefined();
    const setting = { now: 30 as number | null };
    vi.stubGlobal("jupyterRemoteForceAfter", () => setting.now);
    let before = tellSetting(alive, undefined);
    before = tellSetting(alive, before);
    setting.now = null;
    expect(tellSetting(alive, before)).toBeNull();
    const sent = told.map((one) => one as { header: { msg_type: string }; content: unknown });
    expect(sent.map(({ content }) => content)).toEqual([{ force_after_s: 30 }, { force_after_s: null }]);
    expect(sent[0]!.header.msg_type).toBe("jupyter_remote_setting");
    expect(tellSetting(model([], null), 30)).toBeNull(); // without a kernel
  });

  it("know no time where the extension is absent", async () => {
    const told: unknown[] = [];
    await cancel(model(told, kernel(async ({ content }) => void told.push(content))), state, false);
    expect(JSON.stringify(told)).toBe('[{"job":"1","force":false}]');
  });
});
