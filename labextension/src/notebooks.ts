// What notebooks have: a button on each cell, a machine of their own, marks on cells that ran remotely.

import type { JupyterFrontEnd } from "@jupyterlab/application";
import type { Cell, CodeCell, ICodeCellModel } from "@jupyterlab/cells";
import { type INotebookTracker, type Notebook, NotebookActions, type NotebookPanel } from "@jupyterlab/notebook";
import type { TranslationBundle } from "@jupyterlab/translation";

import { Choice, isRemote, LOCAL, machineFor, MAGIC } from "./choice";
import { runIcon } from "./icon";
import { cellOf, markCells, runsOfCell } from "./marks";
import { type Offers, tooltip } from "./offers";
import type { PlanReply } from "./wire";

export const RUN = "jupyter-remote:run-cell";

const ASKS = "jp-OutputArea-stdin-item";
const ANSWERED = "jp-OutputArea-stdin-hiding";

export class Notebooks {
  private _choices = new WeakMap<NotebookPanel, Choice>();
  private _told: PlanReply | null = null;
  private _looks = 0;

  constructor(
    private _app: JupyterFrontEnd,
    private _tracker: INotebookTracker,
    private _offers: Offers,
    private _trans: TranslationBundle,
  ) {
    _tracker.widgetAdded.connect((_, panel) => this._added(panel));
    _tracker.forEach((panel) => this._added(panel));
    _tracker.activeCellChanged.connect(() => this._look());
    NotebookActions.executionScheduled.connect((_, { notebook }) => this._of(notebook)?.begins());
    NotebookActions.executed.connect((_, { notebook, cell }) => {
      if (isRemote(cell.model.sharedModel.getSource())) this._asksNoMore(notebook, cell);
      const choice = this._of(notebook);
      void choice?.ran(cell.model.sharedModel.getSource()).then(() => this._look(), () => undefined);
    });
    _app.commands.addCommand(RUN, {
      label: _trans.__("Run cell remotely"),
      icon: runIcon,
      caption: () => this._caption(),
      isEnabled: () => this._isPossible(),
      execute: () => this._run(),
    });
  }

  /** Of a question whose job was stopped the application keeps the box, and runs nothing before it is
   * answered. */
  private _asksNoMore(notebook: Notebook, cell: Cell): void {
    const outputs = (cell as CodeCell).outputArea?.widgets ?? [];
    const left = outputs.filter((one) => one.hasClass(ASKS) && !one.hasClass(ANSWERED));
    if (!left.length) return;
    for (const one of left) one.dispose();
    const panel = this._tracker.find(({ content }) => content === notebook);
    const kernel = panel?.sessionContext.session?.kernel;
    if (kernel) kernel.hasPendingInput = false;
  }

  choice(panel: NotebookPanel): Choice {
    let found = this._choices.get(panel);
    if (!found) this._choices.set(panel, (found = new Choice(panel)));
    return found;
  }

  /** Shows the cell that a job's output is in. false: none is. */
  async reveal(panel: NotebookPanel, job: string): Promise<boolean> {
    await panel.context.ready;
    await panel.revealed;
    const at = cellOf(panel, job);
    if (at < 0) return false;
    panel.content.activeCellIndex = at;
    await panel.content.scrollToCell(panel.content.widgets[at]!, "start");
    return true;
  }

  /** Runs code in a new cell of the notebook that is used; null: there is none. */
  get runInCell(): ((code: string) => Promise<void>) | null {
    const panel = this._tracker.currentWidget;
    if (!panel) return null;
    return async (code) => {
      this._app.shell.activateById(panel.id);
      NotebookActions.insertBelow(panel.content);
      panel.content.activeCell?.model.sharedModel.setSource(code);
      void this.choice(panel).tell();
      await NotebookActions.run(panel.content, panel.sessionContext);
    };
  }

  private _added(panel: NotebookPanel): void {
    this.choice(panel).changed.connect(() => this._look());
    void panel.context.ready.then(() => !panel.isDisposed && markCells(panel, this._trans, () => this._look()));
  }

  private _of(notebook: unknown): Choice | null {
    const panel = this._tracker.find(({ content }) => content === notebook);
    return panel ? this.choice(panel) : null;
  }

  private _isPossible(): boolean {
    const panel = this._tracker.currentWidget;
    const cell = panel?.content.activeCell;
    if (!panel || cell?.model.type !== "code") return false;
    const language = panel.content.model?.defaultKernelLanguage ?? "";
    if (language && !/python/i.test(language)) return false;
    return isRemote(cell.model.sharedModel.getSource()) || cell.model.getMetadata("editable") !== false;
  }

  /** The file says that the cell ran remotely: its first line does, and one undo takes it away. */
  private async _run(): Promise<void> {
    const panel = this._tracker.currentWidget;
    const cell = panel?.content.activeCell;
    if (!panel || !cell || !this._isPossible()) return;
    const source = cell.model.sharedModel;
    if (!isRemote(source.getSource())) source.updateSource(0, 0, `${MAGIC}\n`);
    void this.choice(panel).tell();
    await NotebookActions.run(panel.content, panel.sessionContext);
  }

  private _caption(): string {
    return tooltip(this._where(), this._told, this._trans);
  }

  private _where(): string | null {
    const panel = this._tracker.currentWidget;
    const source = panel?.content.activeCell?.model.sharedModel.getSource() ?? "";
    if (!panel) return LOCAL;
    const choice = this.choice(panel);
    return choice.hasMore ? null : machineFor(source, choice.machine);
  }

  /** Has the button say where the active cell would run, and what that is expected to cost. */
  private _look(): void {
    const look = ++this._looks;
    const panel = this._tracker.currentWidget;
    const model = panel?.content.activeCell?.model;
    const machine = this._where();
    this._told = null;
    this._app.commands.notifyCommandChanged(RUN);
    if (!panel || model?.type !== "code" || machine === null) return;
    const last = runsOfCell(model as ICodeCellModel).pop();
    void this._offers.plan(machine, panel.context.path, last).then((told) => {
      if (look !== this._looks) return; // another cell is active
      this._told = told;
      this._app.commands.notifyCommandChanged(RUN);
    });
  }
}
