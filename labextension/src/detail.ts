// The chosen job: its history, its receipt, and what can be done with it.

import type { TranslationBundle } from "@jupyterlab/translation";

import { Graphs } from "../../jupyter_remote/notebook/card.js";
import type { Ask } from "./asking";
import type { CardState } from "./cards";
import { isFinal, type Jobs } from "./jobs";
import { type Cancel, CancelButton, figures, make, titleOf } from "./row";
import { duration, money, statusWord } from "./words";
import type { History, HistoryReply, JobView, Receipt } from "./wire";

export interface Link {
  text: string;
  href: string;
  /** The name of the file that it is saved as; without, it is opened. */
  download?: string;
}

/** What the panel lets the application do; what is left out cannot be done there. */
export interface Actions {
  /** Open the notebook that a job came from, at its cell; null where that cannot be told. */
  open?(job: JobView): (() => Promise<void>) | null;
  /** Bring a job's output and values into the notebook that is used; null: none is. */
  attach?(job: JobView): (() => Promise<void>) | null;
  /** Ask, and then run once more what a job ran. The id of the new job; empty: it was not wanted. */
  repeat?(job: JobView): Promise<string>;
  /** Show what a job printed and drew; null where that cannot be. */
  output?(job: JobView): (() => Promise<void>) | null;
  /** What else of a job can be opened. */
  links?(job: JobView): Link[];
  log(job: JobView): Promise<void>;
  receipt(job: JobView): Promise<void>;
  /** What the card of a job shows now; null where nobody knows. */
  card(id: string): Promise<CardState | null>;
}

/** What a receipt says that the job's line does not. */
export function receiptLines(receipt: Receipt, trans: TranslationBundle): string[] {
  const { cost, attempts = [], advice, waited_s: waited = 0, ran_s: ran = 0 } = receipt;
  const lines = [
    trans.__("waited %1, ran %2", duration(waited), duration(ran)),
    trans.__("cost %1", money(cost?.total_ucredits ?? 0)),
  ];
  if (cost?.lost_ucredits) lines.push(trans.__("not charged, lost by the platform: %1", money(cost.lost_ucredits)));
  if (cost?.saved_ucredits) lines.push(trans.__("not charged, from the cache: %1", money(cost.saved_ucredits)));
  if (attempts.length > 1) lines.push(trans.__("%1 attempts", attempts.length));
  if (advice) lines.push(advice.text);
  return lines;
}

export class Detail {
  readonly node: HTMLElement;
  private _back: HTMLElement; // where the chosen job takes all the place
  private _title: HTMLElement;
  private _now: HTMLElement; // what its line says, where that is hidden
  private _buttons: HTMLElement;
  private _attach: HTMLButtonElement | null = null;
  private _links: HTMLElement;
  private _ended: HTMLButtonElement[] = []; // what can be done when it is over
  private _cancel: CancelButton | null = null;
  private _graphs: HTMLElement;
  private _drawnGraphs: Graphs;
  private _history: HTMLElement;
  private _receipt: HTMLElement;
  private _job = "";
  private _drawn = "";

  constructor(
    parent: HTMLElement,
    private _ask: Ask,
    private _actions: Actions,
    private _trans: TranslationBundle,
    private _cancelJob: (id: string, force: boolean) => Promise<void>,
    private _does: (action: () => Promise<void>) => void,
    private _choose: (id: string) => void,
    close: () => void,
  ) {
    this.node = make("div", "jr-panel-detail", parent);
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", _trans.__("Chosen job"));
    this._back = make("button", "jr-panel-button jr-panel-back", this.node, _trans.__("All jobs"));
    this._back.onclick = close;
    this._title = make("div", "jr-panel-title", this.node);
    this._now = make("div", "jr-panel-now", this.node);
    this._buttons = make("div", "jr-panel-buttons", this.node);
    this._links = make("div", "jr-panel-links", this.node);
    this._graphs = make("div", "jr-panel-graphs", this.node);
    this._graphs.setAttribute("aria-label", _trans.__("Live figures"));
    this._graphs.setAttribute("role", "group");
    this._drawnGraphs = new Graphs(this._graphs);
    this._history = make("ol", "jr-panel-history", this.node);
    this._receipt = make("ul", "jr-panel-receipt", this.node);
    this._receipt.setAttribute("aria-label", _trans.__("Receipt"));
  }

  /** Raises what hinders the backend from telling the rest. */
  async draw(job: JobView | undefined, jobs: Jobs): Promise<void> {
    this.node.hidden = !job;
    if (!job) this._job = this._drawn = "";
    else {
      if (this._job !== job.id) this._begin(job);
      this._cancel?.draw(job);
      this._now.dataset["status"] = job.status;
      this._now.textContent = [statusWord(job.status, this._trans), ...figures(job, jobs, this._trans)].join(" · ");
      this._drawButtons(job);
      await Promise.all([this._drawTold(job), this._drawGraphs(job)]);
    }
  }

  /** One sample at a time: the graphs keep those that were seen while the job was chosen. */
  private async _drawGraphs(job: JobView): Promise<void> {
    if (isFinal(job) && this._graphs.dataset["status"] === job.status) return;
    const card = job.started_at == null ? null : await this._actions.card(job.id);
    if (this._job !== job.id || !card) return;
    this._graphs.dataset["status"] = card.status;
    this._drawnGraphs.draw(card["graphs"]);
  }

  private _begin(job: JobView): void {
    this._job = job.id;
    this._drawn = "";
    this._title.textContent = titleOf(job);
    this._graphs.dataset["status"] = "";
    this._graphs.hidden = true;
    this._drawnGraphs = new Graphs(this._graphs);
    for (const part of [this._buttons, this._links, this._graphs, this._history, this._receipt]) part.replaceChildren();
    const cancel: Cancel = (force) => this._cancelJob(job.id, force);
    this._cancel = new CancelButton(this._buttons, this._trans, cancel);
    const __ = (text: string): string => this._trans.__(text);
    const open = this._actions.open?.(job);
    if (open) this._button(__("Open notebook"), open);
    const { attach, repeat } = this._actions;
    this._attach = attach ? this._button(__("Attach"), async () => attach(job)?.()) : null;
    const output = this._actions.output?.(job);
    if (output) this._button(__("Output"), output);
    this._button(__("Logs"), () => this._actions.log(job));
    this._ended = [this._button(__("Receipt"), () => this._actions.receipt(job))];
    if (repeat && job.kind !== "session") {
      this._ended.push(this._button(__("Run again"), async () => this._shown(await repeat(job))));
    }
  }

  private _button(text: string, action: () => Promise<void>): HTMLButtonElement {
    const button = make("button", "jr-panel-button", this._buttons, text);
    button.onclick = () => this._does(action);
    return button;
  }

  private _drawButtons(job: JobView): void {
    for (const button of this._ended) button.hidden = !isFinal(job);
    this._drawLinks(this._actions.links?.(job) ?? []);
    if (!this._attach) return;
    this._attach.disabled = !this._actions.attach?.(job);
    this._attach.title = this._attach.disabled
      ? this._trans.__("Open a notebook first: it is attached there")
      : this._trans.__("Show it and bring its values into the notebook that is open");
  }

  private _drawLinks(links: Link[]): void {
    if (this._links.childElementCount === links.length) return; // one that has the focus keeps it
    this._links.replaceChildren();
    for (const { text, href, download } of links) {
      const link = make("a", "jr-panel-link", this._links, text);
      link.href = href;
      if (download) link.download = download;
      else [link.target, link.rel] = ["_blank", "noopener"];
    }
  }

  private _shown(id: string): void {
    if (id) this._choose(id);
  }

  /** Where it hides the list, it has the focus, too. */
  focus(): void {
    if (this._back.offsetParent) this._back.focus();
  }

  private async _drawTold(job: JobView): Promise<void> {
    const key = `${job.id} ${job.status} ${job.stage ?? ""} ${job.attempt ?? 0}`;
    if (key === this._drawn) return;
    this._drawn = key;
    try {
      const { history } = await this._ask<HistoryReply>("GET", `jobs/${job.id}/history`);
      const receipt = isFinal(job) ? await this._ask<Receipt>("GET", `jobs/${job.id}/receipt`) : null;
      if (this._drawn === key) this._fill(history, receipt); // else another was chosen meanwhile
    } catch (error) {
      if (this._drawn === key) this._drawn = "";
      throw error;
    }
  }

  private _fill(history: History[], receipt: Receipt | null): void {
    this._history.replaceChildren();
    for (const line of history) {
      const item = make("li", "", this._history);
      const at = new Date(line.at * 1000);
      const time = make("time", "", item, at.toLocaleTimeString());
      time.dateTime = at.toISOString();
      time.title = at.toLocaleString();
      make("span", "", item, line.text || line.event);
    }
    this._receipt.replaceChildren();
    if (receipt) for (const line of receiptLines(receipt, this._trans)) make("li", "", this._receipt, line);
  }
}
