// What can be done with a job on the page: looked at. Cancel is the panel's own.

import type { Ask } from "../asking";
import { textOf, type Way } from "../asking";
import type { CardState } from "../cards";
import type { Actions } from "../detail";
import { isFinal, type Jobs } from "../jobs";
import { make, titleOf } from "../row";
import { type Read, Text } from "../text";
import type { JobView, Receipt } from "../wire";
import { english } from "./words";

const LOG_BYTES = 1 << 20; // of its end

function showText(title: string, read: Read, atEnd: boolean): Promise<void> {
  const dialog = make("dialog", "jr-text", document.body);
  dialog.setAttribute("aria-label", title);
  const head = make("div", "jr-text-head", dialog);
  make("h2", "", head, title);
  const close = make("button", "jr-panel-button", head, english.__("Close"));
  const text = new Text(title, read, english.__("Nothing yet."), atEnd);
  dialog.append(text.node);
  close.onclick = () => dialog.close();
  dialog.onclick = (event) => event.target === dialog && dialog.close(); // beside it
  dialog.showModal();
  return new Promise((over) => {
    dialog.onclose = () => {
      text.dispose();
      dialog.remove();
      over();
    };
  });
}

export function linksOf(job: JobView): { text: string; href: string; download?: string }[] {
  const links: { text: string; href: string; download?: string }[] = [];
  if (job.started_at != null) links.push({ text: "View results", href: `jobs/${job.id}/result` });
  if (job.kind === "notebook" && job.status === "completed") {
    links.push({ text: "Executed notebook", href: `jobs/${job.id}/notebook`, download: `result-${job.id.slice(0, 8)}.ipynb` });
  }
  return links;
}

export function actionsOf(jobs: Jobs, ask: Ask, way: Way): Actions {
  return {
    links: linksOf,
    log: (job) => {
      const read: Read = async () => {
        const goesOn = !isFinal(jobs.job(job.id) ?? job); // before it is read: its last lines are not missed
        return { text: await textOf(way, `jobs/${job.id}/log?last_bytes=${LOG_BYTES}`), goesOn };
      };
      return showText(english.__("Logs of “%1”", titleOf(job)), read, true);
    },
    receipt: (job) => {
      const read: Read = async () => {
        const receipt = await ask<Receipt>("GET", `jobs/${job.id}/receipt`);
        return { text: JSON.stringify(receipt, null, 2), goesOn: false };
      };
      return showText(english.__("Receipt of “%1”", titleOf(job)), read, false);
    },
    card: (id) => ask<CardState>("GET", `jobs/${id}/card`),
  };
}
