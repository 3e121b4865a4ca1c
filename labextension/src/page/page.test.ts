import { describe, expect, it } from "vitest";

import { askerOf, type BackendError, textOf } from "../asking";
import type { JobView } from "../wire";
import { linksOf } from "./actions";
import { keepInAddress } from "./address";
import { takeCode } from "./signin";
import { type Sight, SeenTimer } from "./timer";
import { wayOf } from "./way";
import { english } from "./words";

type Sent = [url: string, init: RequestInit];

/** A backend that answers so; what was sent to it. */
function backend(status: number, body: unknown): { fetch: (...sent: Sent) => Promise<Response>; sent: Sent[] } {
  const sent: Sent[] = [];
  const fetch = async (...one: Sent): Promise<Response> => {
    sent.push(one);
    return new Response(typeof body === "string" ? body : JSON.stringify(body), { status });
  };
  return { fetch, sent };
}

async function failureOf(asked: Promise<unknown>): Promise<BackendError> {
  return asked.then(
    () => Promise.reject(new Error("it was answered")),
    (error: BackendError) => error,
  );
}

describe("the page asks its backend", () => {
  it("below its own address, with the cookie and as JSON, whatever it asks", async () => {
    const { fetch, sent } = backend(200, { id: "a" });
    const ask = askerOf(wayOf(fetch));
    expect(await ask("POST", "jobs/a/cancel", {}, { force: true })).toEqual({ id: "a" });
    await ask("DELETE", "page/session");
    await ask("GET", "jobs", { limit: 100, before: undefined });
    expect(sent.map(([url]) => url)).toEqual(["v1/jobs/a/cancel", "v1/page/session", "v1/jobs?limit=100"]);
    for (const [, init] of sent) {
      expect(init.credentials).toBe("same-origin");
      expect(init.headers).toEqual({ "Content-Type": "application/json" });
    }
    expect(sent[0]![1].body).toBe('{"force":true}');
    expect(sent[1]![1].body).toBeUndefined();
  });

  it("and is signed out when the cookie is good no more", async () => {
    const problem = { title: "not authenticated", status: 401, code: "not_authenticated", detail: "It is expired." };
    const ask = askerOf(wayOf(backend(401, problem).fetch));
    expect((await failureOf(ask("GET", "jobs"))).code).toBe("signed_out");
    expect((await failureOf(ask("POST", "page/session"))).message).toBe("It is expired.");
  });

  it("and says who it was that did not answer", async () => {
    const away = wayOf(() => Promise.reject(new TypeError("Failed to fetch")));
    expect((await failureOf(textOf(away, "jobs"))).code).toBe("backend_unreachable");
    const proxy = wayOf(backend(502, "<html>Bad gateway").fetch);
    expect((await failureOf(textOf(proxy, "jobs"))).message).toContain("HTTP 502");
  });
});

/** A clock that is moved by hand, in a page that can be hidden. */
function scene(): { timer: SeenTimer; pass: () => void; see: (seen: boolean) => void } {
  const due = new Map<number, () => void>();
  const told: (() => void)[] = [];
  let last = 0;
  const sight = { hidden: false, addEventListener: (_: string, action: () => void) => void told.push(action) };
  const clock = {
    setTimeout: (action: () => void) => (due.set((last += 1), action), last),
    clearTimeout: (id: number) => void due.delete(id),
  };
  return {
    timer: new SeenTimer(sight as Sight, clock),
    pass: () => [...due].forEach(([id, action]) => (due.delete(id), action())),
    see: (seen) => {
      sight.hidden = !seen;
      told.splice(0).forEach((action) => action());
    },
  };
}

describe("a page that nobody sees", () => {
  it("does nothing until it is seen, and then at once", () => {
    const { timer, pass, see } = scene();
    const done: string[] = [];
    timer.setTimeout(() => done.push("a"), 1000);
    see(false);
    pass();
    see(false);
    expect(done).toEqual([]);
    see(true);
    expect(done).toEqual(["a"]);
    see(true);
    expect(done).toEqual(["a"]);
  });

  it("does not do what was given up meanwhile", () => {
    const { timer, pass, see } = scene();
    const done: string[] = [];
    const id = timer.setTimeout(() => done.push("a"), 1000);
    see(false);
    pass();
    timer.clearTimeout(id);
    see(true);
    expect(done).toEqual([]);
  });
});

/** A window whose history goes back as a browser's does, and a panel in it. */
function browser(hash = ""): { steps: string[]; chosen: string[]; panel: Parameters<typeof keepInAddress>[0]; back: () => void } {
  const steps: { address: string; state: unknown }[] = [{ address: `/jobs${hash}`, state: null }];
  const location = {
    pathname: "/jobs",
    get hash() {
      const [, id] = steps[steps.length - 1]!.address.split("#");
      return id ? `#${id}` : "";
    },
  };
  let popped = (): void => undefined;
  const back = (): void => {
    steps.pop();
    popped();
  };
  const history = {
    get state() {
      return steps[steps.length - 1]!.state;
    },
    pushState: (state: unknown, _: string, address: string) => void steps.push({ address, state }),
    replaceState: (state: unknown, _: string, address: string) => void steps.splice(-1, 1, { address, state }),
    back,
  };
  const chosen: string[] = [];
  const panel = {
    onChosen: (_: string): void => undefined,
    choose: (id: string): void => {
      if (chosen[chosen.length - 1] === id || (!id && !chosen.length)) return;
      chosen.push(id);
      panel.onChosen(id);
    },
  };
  const page = { location, history, addEventListener: (_: string, action: () => void) => void (popped = action) };
  keepInAddress(panel, page as unknown as Window);
  return { get steps() { return steps.map(({ address }) => address); }, chosen, panel, back } as ReturnType<typeof browser>;
}

describe("the chosen job", () => {
  it("is in the address, and one step back closes it, however many were looked at", () => {
    const found = browser();
    found.panel.choose("a");
    found.panel.choose("b");
    expect(found.steps).toEqual(["/jobs", "/jobs#b"]);
    found.back();
    expect(found.chosen).toEqual(["a", "b", ""]);
    expect(found.steps).toEqual(["/jobs"]);
  });

  it("leaves no step behind when it is closed on the page", () => {
    const found = browser();
    found.panel.choose("a");
    found.panel.choose("");
    expect(found.steps).toEqual(["/jobs"]);
  });

  it("is chosen by an address, and closing it leaves the page open", () => {
    const found = browser("#a");
    expect(found.chosen).toEqual(["a"]);
    found.panel.choose("");
    expect(found.steps).toEqual(["/jobs"]);
  });
});

describe("the code of a link", () => {
  it("leaves the address before anything is asked", () => {
    const replaced: string[] = [];
    const history = { replaceState: (_: unknown, __: string, url: string) => void replaced.push(url) };
    const location = { hash: "#secret", pathname: "/login" };
    expect(takeCode(location as Location, history as unknown as History)).toBe("secret");
    expect(replaced).toEqual(["/login"]);
    expect(takeCode({ ...location, hash: "" } as Location, history as unknown as History)).toBe("");
    expect(replaced).toEqual(["/login"]);
  });
});

describe("what can be opened of a job", () => {
  const job = (more: Partial<JobView>): JobView => ({ id: "0123456789", kind: "cell", status: "queued", ...more }) as JobView;

  it("is its results once it started, and the notebook that it ran", () => {
    expect(linksOf(job({}))).toEqual([]);
    const started = linksOf(job({ status: "running", started_at: 1 }));
    expect(started).toEqual([{ text: "View results", href: "jobs/0123456789/result" }]);
    const notebook = linksOf(job({ kind: "notebook", status: "completed", started_at: 1 }));
    expect(notebook[1]).toEqual({
      text: "Executed notebook",
      href: "jobs/0123456789/notebook",
      download: "result-01234567.ipynb",
    });
  });
});

describe("texts of the page", () => {
  it("are filled in as those of JupyterLab are", () => {
    expect(english.__("ran %1 on %2, %3", "1 s", "a%1")).toBe("ran 1 s on a%1, %3");
    expect(english._n("%1 job", "%1 jobs", 1)).toBe("1 job");
    expect(english._n("%1 job of %2", "%1 jobs of %2", 2, "me")).toBe("2 jobs of me");
  });
});
