import { nullTranslator } from "@jupyterlab/translation";
import { expect, test } from "vitest";

import { Strays } from "./strays";

/** What is to be seen of notifications. */
class Shown {
  notices = new Map<string, [string, string | null]>();
  strays = new Strays(
    {
      show: (message, job) => {
        const id = `n${this.notices.size + this.dismissed}`;
        this.notices.set(id, [message, job]);
        return id;
      },
      update: (id, message, job) => this.notices.has(id) && !!this.notices.set(id, [message, job]),
    },
    nullTranslator.load("jupyter_remote"),
  );
  dismissed = 0;

  edited(from: number, to: number, isEdited = true): void {
    for (let n = from; n < to; n++) this.strays.add({ job: `${n}`, title: `job ${n}`, isEdited });
  }

  dismiss(): void {
    this.dismissed += this.notices.size;
    this.notices.clear();
  }
}

const DO = "The output of their jobs is in the panel: choose one there, then Output.";

test("one job is named, and its button shows it", () => {
  const shown = new Shown();
  shown.edited(0, 1);
  expect([...shown.notices.values()]).toEqual([["Its cell was edited, so that its output is in the panel: job 0", "0"]]);
});

test("fifty jobs are one notification, which says how many and what to do", () => {
  const shown = new Shown();
  shown.edited(0, 50);
  expect([...shown.notices.values()]).toEqual([[`50 cells were edited. ${DO}`, null]]);
  shown.edited(50, 51, false);
  expect([...shown.notices.values()]).toEqual([[`50 cells were edited; 1 cell shows output of local code, too. ${DO}`, null]]);
});

test("what was dismissed is not counted again", () => {
  const shown = new Shown();
  shown.edited(0, 3);
  shown.dismiss();
  shown.edited(3, 4, false);
  const said = "Its cell shows output of local code, too, so that its output is in the panel: job 3";
  expect([...shown.notices.values()]).toEqual([[said, "3"]]);
  shown.edited(4, 6);
  expect([...shown.notices.values()]).toEqual([[`2 cells were edited; 1 cell shows output of local code, too. ${DO}`, null]]);
});

test("a job whose notebook is closed and opened again is told once", () => {
  const shown = new Shown();
  shown.edited(0, 2);
  shown.edited(1, 2);
  expect([...shown.notices.values()]).toEqual([[`2 cells were edited. ${DO}`, null]]);
  shown.dismiss();
  shown.edited(1, 2);
  expect([...shown.notices.values()]).toEqual([["Its cell was edited, so that its output is in the panel: job 1", "1"]]);
});
