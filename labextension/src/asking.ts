// What asking the backend is like, wherever it is.

import type { Problem } from "./wire";

export type Params = Record<string, string | number | undefined>;
export type Ask = <T>(method: "GET" | "POST" | "DELETE", path: string, params?: Params, body?: unknown) => Promise<T>;

/** What the backend, or the way to it, said instead of an answer. */
export class BackendError extends Error {
  constructor(readonly code: string, message: string, readonly hint = "") {
    super(message);
  }
}

/** How requests get to the backend. */
export interface Way {
  /** Sends one to `v1/…`. Raises BackendError where there is no answer. */
  send(path: string, init: RequestInit): Promise<Response>;
  /** What it means that something else than the backend answered. */
  strange(status: number): BackendError;
}

export function askerOf(way: Way): Ask {
  return async <T>(method: string, path: string, params: Params = {}, body?: unknown): Promise<T> => {
    const given = Object.entries(params).filter(([, value]) => value !== undefined);
    const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    const init: RequestInit = { method };
    if (method === "POST") init.body = JSON.stringify(body ?? {});
    return JSON.parse(await textOf(way, path + (query && `?${query}`), init)) as T;
  };
}

/** What is answered, as it is. */
export async function textOf(way: Way, path: string, init: RequestInit = {}): Promise<string> {
  const response = await way.send(path, init);
  const text = await response.text();
  if (!response.ok) throw problemOf(way, response.status, text);
  return text;
}

export function problemOf(way: Way, status: number, text: string): BackendError {
  try {
    const problem = JSON.parse(text) as Partial<Problem>;
    if (problem.code) return new BackendError(problem.code, problem.detail || problem.title || problem.code, problem.hint);
  } catch {
    // a page of a proxy, or of a server without us
  }
  return way.strange(status);
}
