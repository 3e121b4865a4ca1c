// Says of which jobs the output is in the panel alone: of all in one notification, which counts them.

import type { TranslationBundle } from "@jupyterlab/translation";

/** How a page tells something. `job`: that its button shows; null: it shows the panel. */
export interface Notices {
  show(message: string, job: string | null): string;
  /** false: it was dismissed. */
  update(id: string, message: string, job: string | null): boolean;
}

interface Stray {
  job: string;
  title: string;
  isEdited: boolean; // else its cell shows output of local code, too
}

export class Strays {
  private _told: Stray[] = [];
  private _id = "";

  constructor(
    private _notices: Notices,
    private _trans: TranslationBundle,
  ) {}

  add(stray: Stray): void {
    this._told = [...this._told.filter(({ job }) => job !== stray.job), stray];
    if (this._id && this._notices.update(this._id, this._message(), this._job())) return;
    this._told = [stray];
    this._id = this._notices.show(this._message(), this._job());
  }

  private _job(): string | null {
    return this._told.length === 1 ? this._told[0]!.job : null;
  }

  private _message(): string {
    const trans = this._trans;
    const [first, ...others] = this._told;
    if (!others.length) {
      return first!.isEdited
        ? trans.__("Its cell was edited, so that its output is in the panel: %1", first!.title)
        : trans.__("Its cell shows output of local code, too, so that its output is in the panel: %1", first!.title);
    }
    const edited = this._told.filter(({ isEdited }) => isEdited).length;
    const mixed = this._told.length - edited;
    const parts = [];
    if (edited) parts.push(trans._n("%1 cell was edited", "%1 cells were edited", edited));
    if (mixed) parts.push(trans._n("%1 cell shows output of local code, too", "%1 cells show output of local code, too", mixed));
    return `${parts.join("; ")}. ${trans.__("The output of their jobs is in the panel: choose one there, then Output.")}`;
  }
}
