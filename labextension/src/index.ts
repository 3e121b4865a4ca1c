// The plugins of the extension. Every token but the labels is optional: Notebook 7 lacks some.

import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { PageConfig } from "@jupyterlab/coreutils";
import { IDocumentManager } from "@jupyterlab/docmanager";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import { IStatusBar } from "@jupyterlab/statusbar";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { ITranslator, nullTranslator } from "@jupyterlab/translation";

import { asker, readCards } from "./api";
import { Cards, type CardState } from "./cards";
import { jobsIcon } from "./icon";
import { Jobs, type Timer } from "./jobs";
import { tellEnds } from "./notify";
import { JobsPanel } from "./panel";
import { CardRenderer, MIME } from "./renderer";
import { StatusItem } from "./status";
import type { JobView } from "./wire";

const RANK = 10; // before HTML
const OPEN = "jupyter-remote:show-jobs";

/** The path of a job's notebook for this server; null: it is not below its folder. */
export function pathOf(job: JobView, root: string): string | null {
  const path = job.notebook ?? "";
  if (!path.endsWith(".ipynb")) return null;
  if (!path.startsWith("/")) return path;
  const folder = root.endsWith("/") ? root : `${root}/`;
  return root && path.startsWith(folder) ? path.slice(folder.length) : null;
}

const page: Timer = {
  setTimeout: (action, ms) => window.setTimeout(action, ms),
  clearTimeout: (id) => window.clearTimeout(id),
  isHidden: () => document.hidden,
};

function whenSeen(action: () => void): void {
  document.addEventListener("visibilitychange", () => !document.hidden && action());
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: "jupyter-remote:panel",
  description: "All jobs of the user, live, and what they cost.",
  autoStart: true,
  optional: [ILabShell, ILayoutRestorer, ICommandPalette, IStatusBar, IDocumentManager, ITranslator, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    lab: ILabShell | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    statusBar: IStatusBar | null,
    documents: IDocumentManager | null,
    translator: ITranslator | null,
    registry: ISettingRegistry | null,
  ): void => {
    const trans = (translator ?? nullTranslator).load("jupyter_remote");
    const ask = asker(app.serviceManager.serverSettings);
    const jobs = new Jobs(ask, page);
    const open = (job: JobView): (() => void) | null => {
      const path = pathOf(job, PageConfig.getOption("jupyterRemoteRoot"));
      return path && documents ? () => void documents.openOrReveal(path) : null;
    };
    const read = readCards(app.serviceManager.serverSettings);
    const card = async (id: string): Promise<CardState | null> => (await read([id]))?.[0] ?? null;
    const panel = new JobsPanel(jobs, ask, { open, card }, trans);
    panel.id = "jupyter-remote-jobs";
    panel.title.icon = jobsIcon;
    panel.title.caption = trans.__("Remote jobs");
    app.shell.add(panel, "right", { rank: 900 });
    restorer?.add(panel, panel.id);
    app.commands.addCommand(OPEN, {
      label: trans.__("Show remote jobs"),
      icon: jobsIcon,
      execute: () => {
        lab?.expandRight?.();
        app.shell.activateById(panel.id);
      },
    });
    palette?.addItem({ command: OPEN, category: trans.__("Remote") });
    if (statusBar) {
      const item = new StatusItem(jobs, trans, () => void app.commands.execute(OPEN));
      statusBar.registerStatusItem("jupyter-remote:status", { item, align: "right", rank: 500 });
    }
    const settings = registry ? registry.load(plugin.id).catch(() => null) : Promise.resolve(null);
    void settings.then((loaded) => tellEnds(jobs, loaded, trans));
    void app.restored.then(() => jobs.refresh());
    whenSeen(() => void jobs.refresh());
  },
};

const cards: JupyterFrontEndPlugin<void> = {
  id: "jupyter-remote:cards",
  description: "Cards of jobs in notebooks, live also without a kernel.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (app: JupyterFrontEnd, registry: IRenderMimeRegistry): void => {
    const settings = app.serviceManager.serverSettings;
    const ask = asker(settings);
    const live = new Cards(readCards(settings), page);
    whenSeen(() => void live.look());
    Object.assign(globalThis, {
      jupyterRemoteCancel: (id: string, force: boolean) => ask("POST", `jobs/${id}/cancel`, {}, { force }),
    });
    const createRenderer = (): CardRenderer => new CardRenderer(live);
    registry.addFactory({ safe: true, mimeTypes: [MIME], defaultRank: RANK, createRenderer });
  },
};

export default [plugin, cards];
