// The way to the backend from a page of its own: the cookie says who asks.

import { BackendError, type Way } from "../asking";

const UNAUTHENTICATED = 401;

export function signedOut(): BackendError {
  return new BackendError("signed_out", "You are signed out");
}

/** `fetch`: that of the browser; a test has its own. */
export function wayOf(fetch: (url: string, init: RequestInit) => Promise<Response>): Way {
  return {
    send: async (path, init) => {
      const headers = { "Content-Type": "application/json" };
      const response = await fetch(`v1/${path}`, { ...init, headers, cache: "no-store", credentials: "same-origin" }).catch(() => {
        throw new BackendError("backend_unreachable", "The backend does not answer", "This page goes on when it is back");
      });
      if (response.status === UNAUTHENTICATED && path !== "page/session") throw signedOut();
      return response;
    },
    strange: (status) => new BackendError("http", `The backend, or a proxy before it, answered HTTP ${status}`),
  };
}
