// The way to the backend: through Jupyter Server, which has its token.

import { URLExt } from "@jupyterlab/coreutils";
import { ServerConnection } from "@jupyterlab/services";

import { type Ask, BackendError, type Params } from "./asking";
import type { Problem } from "./wire";

/** Requests to `jupyter-remote/v1/…` of this Jupyter server. */
export function asker(settings: ServerConnection.ISettings): Ask {
  return async <T>(method: "GET" | "POST", path: string, params: Params = {}, body?: unknown): Promise<T> => {
    const given = Object.entries(params).filter(([, value]) => value !== undefined);
    const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    const url = URLExt.join(settings.baseUrl, "jupyter-remote/v1", path) + (query && `?${query}`);
    const init: RequestInit = { method };
    if (method === "POST") init.body = JSON.stringify(body ?? {});
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, settings);
    } catch {
      throw new BackendError("jupyter_unreachable", "Jupyter Server does not answer");
    }
    const text = await response.text();
    if (response.ok) return JSON.parse(text) as T;
    throw problemOf(response.status, text);
  };
}

function problemOf(status: number, text: string): BackendError {
  try {
    const problem = JSON.parse(text) as Partial<Problem>;
    if (problem.code) return new BackendError(problem.code, problem.detail || problem.title || problem.code, problem.hint);
  } catch {
    // a page of a proxy, or of a Jupyter Server without our extension
  }
  const code = status === 404 ? "no_extension" : "http";
  return new BackendError(code, `Jupyter Server answered HTTP ${status}`);
}
