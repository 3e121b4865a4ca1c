// What asking the backend is like, wherever it is.

export type Params = Record<string, string | number | undefined>;
export type Ask = <T>(method: "GET" | "POST", path: string, params?: Params, body?: unknown) => Promise<T>;

/** What the backend, or the way to it, said instead of an answer. */
export class BackendError extends Error {
  constructor(readonly code: string, message: string, readonly hint = "") {
    super(message);
  }
}
