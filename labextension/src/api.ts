// The way to the backend: through Jupyter Server, which has its token.

import { URLExt } from "@jupyterlab/coreutils";
import { ServerConnection } from "@jupyterlab/services";

import { type Ask, BackendError, type Params } from "./asking";
import type { CardState } from "./cards";
import type { Home } from "./home";
import type { Problem } from "./wire";

const WHEN = "It starts with the next job, and when this panel is opened again";
const NOTHING = 204; // the embedded backend does not run, and was not to be started

/** The request for the cards of some jobs. */
export function readCards(settings: ServerConnection.ISettings): (ids: string[]) => Promise<CardState[] | null> {
  return async (ids) => {
    const url = `${URLExt.join(settings.baseUrl, "jupyter-remote/cards")}?ids=${ids.join(",")}`;
    const response = await ServerConnection.makeRequest(url, {}, settings);
    if (response.status === NOTHING) return null;
    if (!response.ok) throw problemOf(response.status, await response.text());
    return (await response.json()) as CardState[];
  };
}

/** What a job showed, for a cell; null: no backend runs. */
export async function readHome(
  settings: ServerConnection.ISettings,
  id: string,
  after: number | undefined,
  start: boolean,
): Promise<Home | null> {
  const query = new URLSearchParams({ ...(after !== undefined && { after: `${after}` }), ...(start && { start: "1" }) });
  const url = `${URLExt.join(settings.baseUrl, "jupyter-remote/outputs", id)}?${query}`;
  const response = await ServerConnection.makeRequest(url, {}, settings);
  if (response.status === NOTHING) return null;
  if (!response.ok) throw problemOf(response.status, await response.text());
  const home = (await response.json()) as Home | null;
  if (!home) throw new BackendError("not_found", "The backend does not know this job");
  return home;
}

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
    if (response.status === NOTHING) throw new BackendError("not_running", "The embedded backend does not run", WHEN);
    const text = await response.text();
    if (response.ok) return JSON.parse(text) as T;
    throw problemOf(response.status, text);
  };
}

/** The end of what a job printed. */
export async function readLog(settings: ServerConnection.ISettings, id: string): Promise<string> {
  const url = URLExt.join(settings.baseUrl, "jupyter-remote/v1/jobs", id, "log");
  const response = await ServerConnection.makeRequest(url, {}, settings);
  const text = await response.text();
  if (response.status === NOTHING) throw new BackendError("not_running", "The embedded backend does not run", WHEN);
  if (!response.ok) throw problemOf(response.status, text);
  return text;
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
