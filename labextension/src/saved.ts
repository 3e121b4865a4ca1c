// What a notebook says of a job. It may come from anybody, and hold anything.

import type { CardState } from "./cards";

export const MIME = "application/vnd.jupyter-remote.job+json";
const VERSION = 1;

/** Can this be drawn? Not what another version made. */
export function isCard(data: unknown): data is CardState {
  const state = data as Partial<CardState> | null;
  const texts = state?.["texts"] as { links?: unknown } | undefined;
  const lists = Array.isArray(state?.["bars"]) && Array.isArray(texts?.links);
  const graphs = state?.["graphs"] as { at?: unknown; lines?: unknown } | undefined;
  if (graphs && !(Array.isArray(graphs.at) && Array.isArray(graphs.lines))) return false;
  return typeof state?.id === "string" && typeof state.status === "string" && state.v === VERSION && lists;
}
