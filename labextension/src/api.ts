// The way to the backend: through Jupyter Server, which has its token.

import { URLExt } from "@jupyterlab/coreutils";
import { ServerConnection } from "@jupyterlab/services";

import { type Ask, askerOf, BackendError, problemOf, textOf, type Way } from "./asking";
import type { CardState } from "./cards";
import type { Home } from "./home";

const WHEN = "It starts with the next job, and when this panel is opened again";
const NOTHING = 204; // the embedded backend does not run, and was not to be started

/** The request for the cards of some jobs. */
export function readCards(settings: ServerConnection.ISettings): (ids: string[]) => Promise<CardState[] | null> {
  return async (ids) => {
    const url = `${URLExt.join(settings.baseUrl, "jupyter-remote/cards")}?ids=${ids.join(",")}`;
    const response = await ServerConnection.makeRequest(url, {}, settings);
    if (response.status === NOTHING) return null;
    if (!response.ok) throw problemOf(wayOf(settings), response.status, await response.text());
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
  if (!response.ok) throw problemOf(wayOf(settings), response.status, await response.text());
  const home = (await response.json()) as Home | null;
  if (!home) throw new BackendError("not_found", "The backend does not know this job");
  return home;
}

/** Requests to `jupyter-remote/v1/…` of this Jupyter server. */
export function asker(settings: ServerConnection.ISettings): Ask {
  return askerOf(wayOf(settings));
}

/** The end of what a job printed. */
export function readLog(settings: ServerConnection.ISettings, id: string): Promise<string> {
  return textOf(wayOf(settings), `jobs/${id}/log`);
}

function wayOf(settings: ServerConnection.ISettings): Way {
  return {
    send: async (path, init) => {
      const [name = "", query] = path.split("?");
      const url = URLExt.join(settings.baseUrl, "jupyter-remote/v1", name) + (query ? `?${query}` : "");
      const response = await ServerConnection.makeRequest(url, init, settings).catch(() => {
        throw new BackendError("jupyter_unreachable", "Jupyter Server does not answer");
      });
      if (response.status === NOTHING) throw new BackendError("not_running", "The embedded backend does not run", WHEN);
      return response;
    },
    strange: (status) => new BackendError(status === 404 ? "no_extension" : "http", `Jupyter Server answered HTTP ${status}`),
  };
}
