// Marks cells whose output is of jobs: where they ran, and what that cost.

import type { ICodeCellModel } from "@jupyterlab/cells";
import type { NotebookPanel } from "@jupyterlab/notebook";
import type { TranslationBundle } from "@jupyterlab/translation";

import { markIcon } from "./icon";
import { markText, type Output, type Run, runsOf } from "./runs";

export function runsOfCell(model: ICodeCellModel): Run[] {
  const outputs: Output[] = [];
  for (let i = 0; i < model.outputs.length; i++) outputs.push(model.outputs.get(i) as unknown as Output);
  return runsOf(outputs);
}

/** The cell whose output is of a job; -1: none. */
export function cellOf(panel: NotebookPanel, job: string): number {
  return panel.content.widgets.findIndex(
    ({ model }) => model.type === "code" && runsOfCell(model as ICodeCellModel).some(({ id }) => id === job),
  );
}

/** Keeps the marks of one notebook. `told` is called when the outputs of a cell changed. */
export function markCells(panel: NotebookPanel, trans: TranslationBundle, told: () => void): void {
  const known = new WeakSet<ICodeCellModel>();
  let isDue = false;
  const draw = (): void => {
    isDue = false;
    for (const cell of panel.content.widgets) {
      if (cell.model?.type !== "code") continue;
      const model = cell.model as ICodeCellModel;
      if (!known.has(model)) model.outputs.changed.connect(later);
      known.add(model);
      mark(cell.node, runsOfCell(model), trans);
    }
    told();
  };
  const later = (): void => {
    if (!isDue) requestAnimationFrame(draw); // floods of output are one change
    isDue = true;
  };
  const follow = (): void => {
    panel.content.model?.cells.changed.connect(later);
    later();
  };
  panel.content.modelChanged.connect(follow);
  follow();
}

function mark(cell: HTMLElement, runs: Run[], trans: TranslationBundle): void {
  let found = cell.querySelector<HTMLElement>(":scope > .jr-mark");
  if (!runs.length) return found?.remove();
  const text = markText(runs, trans);
  if (!found) {
    found = document.createElement("span");
    found.className = "jr-mark";
    found.setAttribute("role", "img");
    markIcon.element({ container: found });
    cell.append(found);
  }
  if (found.title === text) return;
  found.title = text;
  found.setAttribute("aria-label", text);
}
