// What the user has set in JupyterLab.

import type { ISettingRegistry } from "@jupyterlab/settingregistry";

export const PANEL = "jupyter-remote:panel";

/** Seconds between a stop and the kill; null: as the backend is set. undefined: not known yet, or
 * there are no settings. A kernel must be told null, too: an earlier page may have told it a time. */
export function forceAfterOf(registry: ISettingRegistry | null): () => number | null | undefined {
  let settings: ISettingRegistry.ISettings | null = null;
  registry?.load(PANEL).then((loaded) => (settings = loaded), () => undefined);
  return () => (settings ? ((settings.composite["forceAfter"] as number | undefined) ?? null) : undefined);
}
