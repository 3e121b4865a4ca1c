// What can be done with a job of the panel.

import type { IDocumentManager } from "@jupyterlab/docmanager";
import type { NotebookPanel } from "@jupyterlab/notebook";
import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { ServerConnection } from "@jupyterlab/services";
import type { TranslationBundle } from "@jupyterlab/translation";
import { UUID } from "@lumino/coreutils";

import { readCards, readHome, readLog } from "./api";
import type { Ask } from "./asking";
import type { Actions } from "./detail";
import { agreed, showText } from "./dialogs";
import type { Home } from "./home";
import { isFinal, type Jobs } from "./jobs";
import type { Notebooks } from "./notebooks";
import { showOutputs } from "./outputs";
import { machineOf, titleOf } from "./row";
import { money, rate } from "./words";
import type { JobView, Receipt } from "./wire";

interface Parts {
  jobs: Jobs;
  ask: Ask;
  settings: ServerConnection.ISettings;
  /** The folder of this server's notebooks. */
  root: string;
  documents: IDocumentManager | null;
  notebooks: Notebooks | null;
  rendermime: IRenderMimeRegistry | null;
  trans: TranslationBundle;
}

/** The path of a job's notebook for this server; null: it is not below its folder. */
export function pathOf(job: JobView, root: string): string | null {
  const path = job.notebook ?? "";
  if (!path.endsWith(".ipynb")) return null;
  if (!path.startsWith("/")) return path;
  const folder = root.endsWith("/") ? root : `${root}/`;
  return root && path.startsWith(folder) ? path.slice(folder.length) : null;
}

/** What a job that is run again may cost; empty: nothing. */
export function repeatText(job: JobView, trans: TranslationBundle): string {
  const { rate_ucredits_per_h: price, hold_ucredits: hold, cost_ucredits: cost } = job.money;
  if (!price) return "";
  const where = trans.__("It runs on %1 at %2 and cost %3 last time.", machineOf(job, trans), rate(price), money(cost));
  const most = job.max_cost_ucredits ?? hold;
  return most ? `${where} ${trans.__("It costs %1 at most.", money(most))}` : where;
}

export function actionsOf({ jobs, ask, settings, root, documents, notebooks, rendermime, trans }: Parts): Actions {
  const read = readCards(settings);
  return {
    open: (job) => {
      const path = pathOf(job, root);
      if (!path || !documents) return null;
      return async () => {
        const panel = documents.openOrReveal(path) as unknown as NotebookPanel | undefined;
        if (!panel || !notebooks || (await notebooks.reveal(panel, job.id))) return;
        throw new Error(trans.__("No cell of this notebook shows that job any more"));
      };
    },
    attach: (job) => {
      const run = notebooks?.runInCell ?? null;
      return run && (() => run(`%remote attach ${job.id.slice(0, 8)}`));
    },
    repeat: async (job) => {
      const told = repeatText(job, trans);
      if (told && !(await agreed(trans.__("Run “%1” again?", titleOf(job)), told, trans.__("Run again"), trans))) return "";
      return jobs.repeat(job.id, UUID.uuid4());
    },
    output: (job) => {
      if (!rendermime || job.kind === "session") return null;
      const home = (after: number | undefined): Promise<Home | null> => readHome(settings, job.id, after, false);
      return () => showOutputs(trans.__("Output of “%1”", titleOf(job)), home, rendermime, trans);
    },
    log: (job) => {
      const text = async (): Promise<{ text: string; goesOn: boolean }> => {
        const goesOn = !isFinal(jobs.job(job.id) ?? job); // before it is read: its last lines are not missed
        return { text: await readLog(settings, job.id), goesOn };
      };
      return showText(trans.__("Logs of “%1”", titleOf(job)), text, trans, true);
    },
    receipt: (job) => {
      const text = async (): Promise<{ text: string; goesOn: boolean }> => {
        const receipt = await ask<Receipt>("GET", `jobs/${job.id}/receipt`);
        return { text: JSON.stringify(receipt, null, 2), goesOn: false };
      };
      return showText(trans.__("Receipt of “%1”", titleOf(job)), text, trans, false);
    },
    card: async (id) => (await read([id]))?.[0] ?? null,
  };
}
