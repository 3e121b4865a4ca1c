// Brings home what jobs showed while no kernel put it into their cells: after a restart, in a page
// that was loaded again, in a notebook that was closed meanwhile. A cell that runs here is left alone.

import type { CodeCell, ICodeCellModel } from "@jupyterlab/cells";
import type { DocumentRegistry } from "@jupyterlab/docregistry";
import type { INotebookModel, INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";
import { JSONExt, type ReadonlyPartialJSONObject } from "@lumino/coreutils";

import { BackendError } from "./asking";
import { broughtHome, cardOf, type Cell, type Held, type Home, isMissing, isWhole, lastCard, ownOf, type Output } from "./home";
import type { Timer } from "./jobs";
import type { JobView } from "./wire";

const PERIOD_MS = 1000;
const AWAY_MS = 5000;
const UNSAVED_S = 5; // within which the card of a job that was sent is in its cell
const OURS = /%remote|@(\w+\.)?remote\b|jupyter_remote/; // code that may have sent jobs
const BYTES_PER_MS = 1000; // what is read again and again is read the slower the more it is

type Context = DocumentRegistry.IContext<INotebookModel>;
type Outputs = ICodeCellModel["outputs"];
type Future = NonNullable<CodeCell["outputArea"]["future"]>;

/** How the rest of the page is reached. */
export interface Ways {
  /** What a job showed; null: no backend runs. `start`: the embedded one is started then. */
  read(job: string, after: number | undefined, start: boolean): Promise<Home | null>;
  /** The newest jobs of a notebook. `path`: as this server knows it. */
  find(path: string): Promise<JobView[]>;
  /** Is another page connected to this kernel, too? */
  isShared(kernel: string): Promise<boolean>;
  /** Its cell is another one now: say where its output is. */
  strayed(job: string, title: string): void;
}

/** A job that no kernel relays here, and the cell that shows it. */
interface Stray {
  cell: ICodeCellModel;
  job: string;
  after: number | undefined;
  isSuspect: boolean; // a kernel relayed it, but the connection was lost meanwhile
}

export class Homecoming {
  private _books = new WeakMap<Context, Book>();

  constructor(
    private _tracker: INotebookTracker,
    private _ways: Ways,
    private _clock: Timer,
  ) {
    _tracker.widgetAdded.connect((_, panel) => void this._added(panel));
    _tracker.forEach((panel) => void this._added(panel));
  }

  /** The page is seen again. */
  look(): void {
    this._tracker.forEach(({ context }) => this._books.get(context)?.scan());
  }

  private async _added(panel: NotebookPanel): Promise<void> {
    await panel.context.ready;
    if (panel.isDisposed) return;
    const known = this._books.get(panel.context);
    const views = (): NotebookPanel[] => this._tracker.filter(({ context }) => context === panel.context);
    const book = known ?? new Book(panel.context, views, this._ways, this._clock);
    this._books.set(panel.context, book);
    book.scan();
  }
}

/** One notebook, in however many views. */
class Book {
  private _strays = new Map<string, Stray>(); // by the ids of their cells
  private _unknown = new Set<string>(); // jobs of which the backend knows nothing
  private _started = new Set<string>(); // jobs for which the backend was started
  private _suspects = new Set<string>(); // cells
  private _followed = new WeakSet<ICodeCellModel>();
  private _wasConnected = true;
  private _isDue = false;
  private _timer: number | null = null;
  private _isReading = false;

  constructor(
    private _context: Context,
    private _views: () => NotebookPanel[],
    private _ways: Ways,
    private _clock: Timer,
  ) {
    const { sessionContext: session } = _context;
    session.statusChanged.connect(() => this.scan());
    session.kernelChanged.connect(() => this.scan());
    session.connectionStatusChanged.connect((_, status) => this._connection(status));
    _context.model.cells.changed.connect(() => this.scan());
    void this._bringUnsaved().catch(() => undefined); // the cells stay as they were saved
  }

  /** Looks for jobs to bring home, once for all changes at a time. */
  scan(): void {
    if (this._isDue) return;
    this._isDue = true;
    requestAnimationFrame(() => {
      this._isDue = false;
      if (!this._context.isDisposed) this._scan();
    });
  }

  private _scan(): void {
    const there = new Set<string>();
    for (const model of this._cells()) {
      there.add(model.id);
      if (!this._followed.has(model)) model.outputs.changed.connect(() => this.scan());
      this._followed.add(model);
      const stray = this._strayIn(model);
      if (!stray) this._strays.delete(model.id);
      else if (this._strays.get(model.id)?.job !== stray.job) this._strays.set(model.id, stray);
    }
    for (const id of this._strays.keys()) if (!there.has(id)) this._strays.delete(id);
    if (this._strays.size) this._wait(0);
  }

  private _strayIn(cell: ICodeCellModel): Stray | null {
    const held = heldIn(cell.outputs);
    const isSuspect = this._suspects.has(cell.id);
    if (!held || (held.isOver && !isSuspect) || this._unknown.has(held.job)) return null;
    const isAtEnd = isSuspect && (held.isOver || this._kernel?.status === "idle");
    if (this._isRelayed(cell) && !isAtEnd) return null;
    return { cell, job: held.job, after: undefined, isSuspect };
  }

  private *_cells(): Generator<ICodeCellModel> {
    for (const model of this._context.model.cells) if (model.type === "code") yield model as ICodeCellModel;
  }

  /** Does a kernel put outputs into this cell, in any of the views? */
  private _isRelayed(cell: ICodeCellModel): boolean {
    return this._futures(cell).length > 0;
  }

  private _futures(cell: ICodeCellModel): Future[] {
    const cells = this._views().flatMap(({ content }) => content.widgets.filter(({ model }) => model === cell));
    const futures = cells.map((widget) => (widget as CodeCell).outputArea?.future as Future | null | undefined);
    return futures.filter((future): future is Future => !!future && !future.isDisposed);
  }

  /** What a kernel says while nobody listens may be lost: what its cells show is compared at the end. */
  private _connection(status: Kernel.ConnectionStatus): void {
    if (status === "connected" && !this._wasConnected) {
      for (const cell of this._cells()) {
        if (heldIn(cell.outputs)?.isOver !== true && this._isRelayed(cell)) this._suspects.add(cell.id);
      }
    }
    this._wasConnected = status === "connected";
    this.scan();
  }

  private _wait(ms: number): void {
    if (this._timer !== null || this._isReading) return;
    this._timer = this._clock.setTimeout(() => void this._look(), ms);
  }

  private async _look(): Promise<void> {
    this._timer = null;
    this._isReading = true;
    let wait = PERIOD_MS;
    for (const stray of this._clock.isHidden?.() ? [] : [...this._strays.values()]) {
      wait = Math.max(wait, await this._bring(stray));
    }
    this._isReading = false;
    if (this._strays.size && !this._context.isDisposed) this._wait(wait);
  }

  /** Milliseconds until the next look. */
  private async _bring(stray: Stray): Promise<number> {
    try {
      const home = await this._ways.read(stray.job, stray.after, !this._started.has(stray.job));
      this._started.add(stray.job);
      if (!home) return AWAY_MS;
      await this._place(stray, home);
      return home.outputs ? JSON.stringify(home.outputs).length / BYTES_PER_MS : PERIOD_MS;
    } catch (error) {
      if (!(error instanceof BackendError) || error.code !== "not_found") return AWAY_MS;
      this._unknown.add(stray.job); // of another user or another backend, or forgotten
      this._strays.delete(stray.cell.id);
      return PERIOD_MS;
    }
  }

  private async _place(stray: Stray, home: Home): Promise<void> {
    const isShared = home.is_over && (await this._isShared());
    const { cell } = stray;
    const held = heldIn(cell.outputs);
    if (this._strays.get(cell.id) !== stray || held?.job !== stray.job) return; // it runs anew
    if (stray.isSuspect && !this._isToBeMended(stray, held, home)) return;
    this._write(stray, held, home, isShared);
    if (home.is_over) this._strays.delete(cell.id);
  }

  /** Did a page that lost its connection miss something? It is told when all is over. */
  private _isToBeMended(stray: Stray, held: Held, home: Home): boolean {
    const { cell } = stray;
    stray.after = home.is_over ? undefined : home.cursor;
    if (!home.is_over || !home.outputs) return false;
    this._suspects.delete(cell.id);
    this._strays.delete(cell.id);
    if (held.isOver && !isMissing(outputsOf(cell), held, home)) return false;
    for (const future of this._futures(cell)) future.dispose(); // nothing comes twice
    return true;
  }

  private _write(stray: Stray, held: Held, home: Home, isShared: boolean): void {
    const { model } = this._context;
    const { cell } = stray;
    const shown = outputsOf(cell);
    const cells = [...this._cells()];
    const isOwn = cells[ownOf(cardOf(home.card)!, cells.map(plain))] === cell;
    const whole = isWhole(held, plain(cell).text);
    const isLive = (id: string): boolean => this._kernel?.hasComm(id) ?? false;
    const brought = isOwn && home.outputs ? broughtHome(shown, held, home, whole, isLive, cell.executionCount) : null;
    const target = brought ?? [...shown];
    target[held.at] = home.is_over ? home.card : shown[held.at]!; // what goes on is drawn by its renderer
    const wasDirty = model.dirty;
    write(cell.outputs, target);
    if (!wasDirty && (!home.is_over || isShared)) model.dirty = false; // whoever relays it saves it
    if (home.outputs) stray.after = home.cursor;
    if (home.is_over && home.outputs?.length && !brought) this._ways.strayed(stray.job, titleIn(home.card));
  }

  private get _kernel(): Kernel.IKernelConnection | null {
    return this._context.sessionContext.session?.kernel ?? null;
  }

  private async _isShared(): Promise<boolean> {
    const kernel = this._kernel;
    return !!kernel && (await this._ways.isShared(kernel.id).catch(() => false));
  }

  /** Cells that ran after the file was last saved have no card in it. */
  private async _bringUnsaved(): Promise<void> {
    const cells = [...this._cells()];
    if (!cells.some(({ sharedModel }) => OURS.test(sharedModel.getSource()))) return;
    const savedAt = Date.parse(this._context.contentsModel?.last_modified ?? "") / 1000;
    const jobs = await this._ways.find(this._context.path);
    const newest = new Map<ICodeCellModel, JobView>();
    for (const job of jobs) {
      const cell = cells[ownOf({ cell: job.cell ?? "", code: job.cell_code ?? "" }, cells.map(plain))];
      if (cell && !job.batch && job.kind !== "session" && !newest.has(cell)) newest.set(cell, job);
    }
    for (const [cell, job] of newest) {
      const slackS = cell.executionCount === null ? UNSAVED_S : 0; // it ran when it was saved
      if (!(job.submitted_at > savedAt - slackS) || this._isRelayed(cell) || shows(cell, job)) continue;
      const home = await this._ways.read(job.id, undefined, false);
      if (!home || this._context.isDisposed || this._isRelayed(cell) || shows(cell, job)) continue;
      const held = { at: 0, ...cardOf(home.card)! };
      write(cell.outputs, broughtHome([home.card], held, home, true, () => false, cell.executionCount)!);
    }
  }
}

function plain(cell: ICodeCellModel): Cell {
  return { id: cell.id, text: cell.sharedModel.getSource() };
}

function heldIn(outputs: Outputs): Held | null {
  return lastCard(Array.from({ length: outputs.length }, (_, i) => ({ output_type: "", data: outputs.get(i).data })));
}

/** Is there a card of this job, or of one that was sent after it? */
function shows(cell: ICodeCellModel, job: JobView): boolean {
  const cards = Array.from({ length: cell.outputs.length }, (_, i) => cardOf({ output_type: "", data: cell.outputs.get(i).data }));
  return cards.some((card) => card && (card.job === job.id || card.submittedAt > job.submitted_at));
}

function outputsOf(cell: ICodeCellModel): Output[] {
  return cell.outputs.toJSON() as unknown as Output[];
}

function titleIn(card: Output): string {
  return String((card["data"] as Record<string, unknown>)["text/plain"]).split("\n")[0]!;
}

/** Outputs that are there already stay as they are drawn. */
function write(outputs: Outputs, target: Output[]): void {
  (outputs as unknown as { clearNext: boolean }).clearNext = false; // whoever wanted that has gone
  const values = target as Parameters<Outputs["set"]>[1][];
  if (outputs.length > values.length) return outputs.fromJSON(values);
  values.forEach((value, i) => {
    if (i >= outputs.length) outputs.add(value);
    else if (!isSame(outputs.get(i).toJSON(), value)) outputs.set(i, value);
  });
}

function isSame(one: unknown, other: unknown): boolean {
  return JSONExt.deepEqual(one as ReadonlyPartialJSONObject, other as ReadonlyPartialJSONObject);
}
