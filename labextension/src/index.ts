// The plugins of the extension. Every token but the labels is optional: Notebook 7 lacks some.

import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette, IToolbarWidgetRegistry, Notification } from "@jupyterlab/apputils";
import { PageConfig } from "@jupyterlab/coreutils";
import { IDocumentManager } from "@jupyterlab/docmanager";
import { INotebookTracker, type NotebookPanel } from "@jupyterlab/notebook";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import { IStatusBar } from "@jupyterlab/statusbar";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { KernelAPI } from "@jupyterlab/services";
import { ITranslator, nullTranslator } from "@jupyterlab/translation";
import { Token } from "@lumino/coreutils";

import { actionsOf } from "./actions";
import { asker, readCards, readHome } from "./api";
import { Cards } from "./cards";
import { Chooser } from "./chooser";
import { fileOf } from "./home";
import { Homecoming, type Ways } from "./homecoming";
import { jobsIcon } from "./icon";
import { Jobs, type Timer } from "./jobs";
import { tellEnds } from "./notify";
import { Notebooks, RUN } from "./notebooks";
import { Offers } from "./offers";
import { JobsPanel } from "./panel";
import { CardRenderer } from "./renderer";
import { MIME } from "./saved";
import { forceAfterOf, PANEL } from "./settings";
import { Sidebar } from "./sidebar";
import { StatusItem } from "./status";
import { Strays } from "./strays";
import type { JobList } from "./wire";

const RANK = 10; // before HTML
const OPEN = "jupyter-remote:show-jobs";
const INotebooks = new Token<Notebooks>("jupyter-remote:INotebooks", "What notebooks have of ours.");

const page: Timer = {
  setTimeout: (action, ms) => window.setTimeout(action, ms),
  clearTimeout: (id) => window.clearTimeout(id),
  isHidden: () => document.hidden,
};

function whenSeen(action: () => void): void {
  document.addEventListener("visibilitychange", () => !document.hidden && action());
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: PANEL,
  description: "All jobs of the user, live, and what they cost.",
  autoStart: true,
  optional: [
    ILabShell,
    ILayoutRestorer,
    ICommandPalette,
    IStatusBar,
    IDocumentManager,
    ITranslator,
    ISettingRegistry,
    INotebooks,
    IRenderMimeRegistry,
  ],
  activate: (
    app: JupyterFrontEnd,
    lab: ILabShell | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    statusBar: IStatusBar | null,
    documents: IDocumentManager | null,
    translator: ITranslator | null,
    registry: ISettingRegistry | null,
    notebooks: Notebooks | null,
    rendermime: IRenderMimeRegistry | null,
  ): void => {
    const trans = (translator ?? nullTranslator).load("jupyter_remote");
    const ask = asker(app.serviceManager.serverSettings);
    const jobs = new Jobs(ask, page, undefined, forceAfterOf(registry));
    const root = PageConfig.getOption("jupyterRemoteRoot");
    const settings = app.serviceManager.serverSettings;
    const actions = actionsOf({ jobs, ask, settings, root, documents, notebooks, rendermime, trans });
    const list = new JobsPanel(jobs, ask, actions, trans);
    const panel = new Sidebar(list);
    panel.id = "jupyter-remote-jobs";
    panel.title.icon = jobsIcon;
    panel.title.caption = trans.__("Remote jobs");
    app.shell.add(panel, "right", { rank: 900 });
    restorer?.add(panel, panel.id);
    app.commands.addCommand(OPEN, {
      label: trans.__("Show remote jobs"),
      icon: jobsIcon,
      execute: (args) => {
        lab?.expandRight?.();
        app.shell.activateById(panel.id);
        if (typeof args["job"] === "string") list.reveal(args["job"]);
      },
    });
    palette?.addItem({ command: OPEN, category: trans.__("Remote") });
    if (statusBar) {
      const item = new StatusItem(jobs, trans, () => void app.commands.execute(OPEN));
      statusBar.registerStatusItem("jupyter-remote:status", { item, align: "right", rank: 500 });
    }
    const chosen = registry ? registry.load(plugin.id).catch(() => null) : Promise.resolve(null);
    void chosen.then((loaded) => tellEnds(jobs, loaded, trans));
    void app.restored.then(() => jobs.refresh());
    whenSeen(() => void jobs.refresh());
  },
};

const cards: JupyterFrontEndPlugin<void> = {
  id: "jupyter-remote:cards",
  description: "Cards of jobs in notebooks, live also without a kernel.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ISettingRegistry],
  activate: (app: JupyterFrontEnd, registry: IRenderMimeRegistry, stored: ISettingRegistry | null): void => {
    const settings = app.serviceManager.serverSettings;
    const ask = asker(settings);
    const live = new Cards(readCards(settings), page);
    whenSeen(() => void live.look());
    Object.assign(globalThis, {
      jupyterRemoteCancel: (id: string, force: boolean, after?: number) =>
        ask("POST", `jobs/${id}/cancel`, {}, { force, force_after_s: after }),
      jupyterRemoteForceAfter: forceAfterOf(stored),
    });
    const createRenderer = (): CardRenderer => new CardRenderer(live);
    registry.addFactory({ safe: true, mimeTypes: [MIME], defaultRank: RANK, createRenderer });
  },
};

const notebooks: JupyterFrontEndPlugin<Notebooks> = {
  id: "jupyter-remote:notebooks",
  description: "A button on cells, a machine for each notebook, marks on cells that ran remotely.",
  autoStart: true,
  provides: INotebooks,
  requires: [INotebookTracker],
  optional: [IToolbarWidgetRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    toolbars: IToolbarWidgetRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null,
  ): Notebooks => {
    const trans = (translator ?? nullTranslator).load("jupyter_remote");
    const offers = new Offers(asker(app.serviceManager.serverSettings));
    const ours = new Notebooks(app, tracker, offers, trans);
    toolbars?.addFactory<NotebookPanel>("Notebook", "remote-machine", (panel) => new Chooser(ours.choice(panel), offers, trans));
    palette?.addItem({ command: RUN, category: trans.__("Remote") });
    return ours;
  },
};

const homecoming: JupyterFrontEndPlugin<void> = {
  id: "jupyter-remote:homecoming",
  description: "Brings into their cells what jobs showed while no kernel did.",
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, tracker: INotebookTracker, translator: ITranslator | null): void => {
    const trans = (translator ?? nullTranslator).load("jupyter_remote");
    const settings = app.serviceManager.serverSettings;
    const ask = asker(settings);
    const root = PageConfig.getOption("jupyterRemoteRoot");
    const buttons = (job: string | null): Notification.IAction[] => {
      const show = { label: trans.__("Show"), callback: () => void app.commands.execute(OPEN, job ? { job } : {}) };
      return app.commands.hasCommand(OPEN) ? [show] : [];
    };
    const strays = new Strays(
      {
        show: (message, job) => Notification.info(message, { actions: buttons(job), autoClose: false }),
        update: (id, message, job) => Notification.update({ id, message, actions: buttons(job) }),
      },
      trans,
    );
    const ways: Ways = {
      read: (job, after, start) => readHome(settings, job, after, start),
      find: async (path, start) => {
        const asked = { notebook: fileOf(path, root), limit: 100, ...(start && { start: 1 }) };
        return (await ask<JobList>("GET", "jobs", asked)).jobs;
      },
      isShared: async (kernel) => ((await KernelAPI.getKernelModel(kernel, settings))?.connections ?? 1) > 1,
      strayed: (job, title, isEdited) => strays.add({ job, title, isEdited }),
    };
    const ours = new Homecoming(tracker, ways, page);
    whenSeen(() => ours.look());
  },
};

export default [plugin, cards, notebooks, homecoming];
