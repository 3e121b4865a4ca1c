// Brings home what jobs showed while no kernel put it into their cells: after a restart, in a page
// that was loaded again, in a notebook that was closed meanwhile. A cell that runs here is left alone.

import type { CodeCell, ICodeCellModel } from "@jupyterlab/cells";
import type { DocumentRegistry } from "@jupyterlab/docregistry";
import type { INotebookModel, INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";

import { BackendError } from "./asking";
import { broughtHome, cardOf, type Cell, type Held, type Home, isMissing, isWhole, lastCard, ownOf, type Output, senderOf } from "./home";
import type { Timer } from "./jobs";
import { MIME } from "./saved";
import type { JobView } from "./wire";
import { msToRead, write } from "./write";

const PERIOD_MS = 1000;
const AWAY_MS = 5000;
const UNSAVED_S = 5; // within which the card of a job that was sent is in its cell
const OURS = /%remote|@(\w+\.)?remote\b|jupyter_remote/; // code that may have sent jobs
const WITH_IDS = 5; // of format 4: earlier ones keep no ids of cells

type Context = DocumentRegistry.IContext<INotebookModel>;
type Outputs = ICodeCellModel["outputs"];
type Future = NonNullable<CodeCell["outputArea"]["future"]>;

/** What a document is that pages share (jupyter-collaboration). */
interface Shared {
  awareness?: { getStates(): Map<number, { user?: unknown }> } | null;
}

/** How the rest of the page is reached. */
export interface Ways {
  /** What a job showed; null: no backend runs. `start`: the embedded one is started then. */
  read(job: string, after: number | undefined, start: boolean): Promise<Home | null>;
  /** The newest jobs of a notebook. `path`: as this server knows it. */
  find(path: string, start: boolean): Promise<JobView[]>;
  /** Is another page connected to this kernel, too? */
  isShared(kernel: string): Promise<boolean>;
  /** Say where its output is. `isEdited`: its cell is another one now; else it shows output of local code, too. */
  strayed(job: string, title: string, isEdited: boolean): void;
}

/** A job that no kernel relays here, and the cell that shows it. */
interface Stray {
  cell: ICodeCellModel;
  job: string;
  after: number | undefined;
  isSuspect: boolean; // a kernel relayed it, but the connection was lost meanwhile
  due: number; // when it is read next
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
  private _held = new WeakMap<ICodeCellModel, Held | null>();
  private _seen = new Set<string>(); // jobs that a cell showed once: it may have been cleared
  private _ran = new WeakSet<ICodeCellModel>(); // here: they show what their kernel had them show
  private _savedAt: number;
  private _isCaughtUp = false; // with what an earlier page sent to the kernel
  private _catching: number | null = null;
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
    session.statusChanged.connect(() => {
      this.scan();
      this._catchUp();
    });
    session.kernelChanged.connect(() => this.scan());
    session.connectionStatusChanged.connect((_, status) => this._connection(status));
    _context.model.cells.changed.connect(() => this.scan());
    this._savedAt = Date.parse(_context.contentsModel?.last_modified ?? "") / 1000;
    void this._bringUnsaved(true).catch(() => undefined); // the cells stay as they were saved
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
      this._follow(model);
      const stray = this._strayIn(model);
      const known = this._strays.get(model.id);
      if (!stray) this._strays.delete(model.id);
      else if (known?.job !== stray.job || known.cell !== model) this._strays.set(model.id, stray); // a cell that is moved is made anew
    }
    for (const id of this._strays.keys()) if (!there.has(id)) this._strays.delete(id);
    if (this._strays.size) this._wait(0);
  }

  private _follow(cell: ICodeCellModel): void {
    if (this._followed.has(cell)) return;
    this._followed.add(cell);
    cell.outputs.changed.connect(() => {
      this._held.delete(cell);
      this.scan();
    });
    cell.stateChanged.connect((_, { name, newValue }) => {
      if (name === "executionCount" && newValue !== null) this._ran.add(cell);
    });
  }

  /** As `heldIn`: of cells whose outputs stay the same it is not looked for again. */
  private _heldIn(cell: ICodeCellModel): Held | null {
    let held = this._held.get(cell);
    if (held === undefined) this._held.set(cell, (held = heldIn(cell.outputs)));
    return held;
  }

  private _strayIn(cell: ICodeCellModel): Stray | null {
    const held = this._heldIn(cell);
    const isSuspect = this._suspects.has(cell.id);
    if (held) this._seen.add(held.job);
    if (!held || (held.isOver && !isSuspect) || this._unknown.has(held.job)) return null;
    const isAtEnd = isSuspect && this._kernel?.status === "idle"; // local code below the job has ended, too
    if (this._isRelayed(cell) && !isAtEnd) return null;
    return { cell, job: held.job, after: undefined, isSuspect, due: 0 };
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
    for (const stray of this._clock.isHidden?.() || this._isOpenElsewhere ? [] : [...this._strays.values()]) {
      if (stray.due > performance.now() || this._context.isDisposed) continue;
      const wait = await this._bring(stray);
      stray.due = performance.now() + wait;
    }
    this._isReading = false;
    if (this._strays.size && !this._context.isDisposed) this._wait(PERIOD_MS);
  }

  /** Has somebody else this very document open? A kernel may put outputs into it there. */
  private get _isOpenElsewhere(): boolean {
    const { awareness } = this._context.model.sharedModel as unknown as Shared;
    return [...(awareness?.getStates().values() ?? [])].filter(({ user }) => user).length > 1;
  }

  /** Milliseconds until it is read again. */
  private async _bring(stray: Stray): Promise<number> {
    try {
      const home = await this._ways.read(stray.job, stray.after, !this._started.has(stray.job));
      this._started.add(stray.job);
      if (!home) return AWAY_MS;
      await this._place(stray, home);
      return Math.max(PERIOD_MS, msToRead(home));
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
    const { cell } = stray;
    const shown = outputsOf(cell);
    const cells = [...this._cells()];
    const own = cells[ownOf(cardOf(home.card)!, cells.map(plain))];
    const isOwn = own === cell;
    const whole = isWhole(held, plain(cell).text);
    const isLive = (id: string): boolean => this._kernel?.hasComm(id) ?? false;
    const brought = isOwn && home.outputs ? broughtHome(shown, held, home, whole, isLive, cell.executionCount) : null;
    const target = brought ?? [...shown];
    target[held.at] = home.is_over ? home.card : shown[held.at]!; // what goes on is drawn by its renderer
    this._put(cell, target, home.is_over && !isShared);
    if (home.outputs) stray.after = home.cursor;
    const isElsewhere = own && !isOwn && heldIn(own.outputs)?.job === stray.job; // this one is a copy
    if (!home.is_over || !home.outputs?.length || brought || isElsewhere || isAlone(home)) return;
    this._ways.strayed(stray.job, titleIn(home.card), !isOwn);
  }

  /** `isToBeSaved`: no kernel goes on with it, whose page saves it. */
  private _put(cell: ICodeCellModel, outputs: Output[], isToBeSaved: boolean): void {
    const { model, contentsModel } = this._context;
    const isClean = !model.dirty;
    write(cell.outputs, outputs);
    if (isClean && (!isToBeSaved || contentsModel?.writable === false)) model.dirty = false;
  }

  private get _kernel(): Kernel.IKernelConnection | null {
    return this._context.sessionContext.session?.kernel ?? null;
  }

  private async _isShared(): Promise<boolean> {
    const kernel = this._kernel;
    return !!kernel && (await this._ways.isShared(kernel.id).catch(() => false));
  }

  /** An earlier page may have sent cells that the kernel comes to now. */
  private _catchUp(): void {
    if (this._isCaughtUp || this._catching !== null) return;
    this._catching = this._clock.setTimeout(() => {
      this._catching = null;
      if (this._context.isDisposed) return;
      this._isCaughtUp = this._kernel?.status === "idle";
      void this._bringUnsaved(false).catch(() => undefined);
    }, PERIOD_MS);
  }

  /** Cells that ran after the file was last saved have no card in it. */
  private async _bringUnsaved(start: boolean): Promise<void> {
    const cells = [...this._cells()];
    if (!cells.some(({ sharedModel }) => OURS.test(sharedModel.getSource()))) return;
    const jobs = await this._ways.find(this._context.path, start);
    const newest = new Map<ICodeCellModel, JobView>();
    const keepsIds = this._context.model.nbformatMinor >= WITH_IDS;
    for (const job of jobs) {
      const cell = cells[senderOf({ cell: job.cell ?? "", code: job.cell_code ?? "" }, cells.map(plain), keepsIds)];
      if (cell && !job.batch && job.kind !== "session" && !newest.has(cell)) newest.set(cell, job);
    }
    for (const [cell, job] of newest) {
      const slackS = cell.executionCount === null ? UNSAVED_S : 0; // it ran when it was saved
      if (!(job.submitted_at > this._savedAt - slackS) || !this._isUnseen(cell, job)) continue;
      const home = await this._ways.read(job.id, undefined, false);
      const isShared = await this._isShared();
      if (!home || this._context.isDisposed || !this._isUnseen(cell, job)) continue;
      const above = cell.executionCount === null ? outputsOf(cell) : []; // else they are of an earlier run
      const held = { at: above.length, ...cardOf(home.card)! };
      const outputs = broughtHome([...above, home.card], held, home, true, () => false, cell.executionCount)!;
      this._put(cell, outputs, !isShared);
    }
  }

  private _isUnseen(cell: ICodeCellModel, job: JobView): boolean {
    if (this._seen.has(job.id) || this._ran.has(cell) || this._isOpenElsewhere || cell.isDisposed) return false;
    return !this._isRelayed(cell) && !shows(cell, job);
  }
}

/** A job that no cell shows: where its handle is displayed, there is its card and no output. */
function isAlone(home: Home): boolean {
  return cardOf(home.card)?.code === "";
}

function plain(cell: ICodeCellModel): Cell {
  return { id: cell.id, text: cell.sharedModel.getSource() };
}

function heldIn(outputs: Outputs): Held | null {
  return lastCard(Array.from({ length: outputs.length }, (_, i) => ({ output_type: "", data: outputs.get(i).data })));
}

/** Is there a card of this job, of one that was sent after it, or of a newer version? */
function shows(cell: ICodeCellModel, job: JobView): boolean {
  return outputsOf(cell).some((output) => {
    const card = cardOf(output);
    if (!card) return MIME in ((output["data"] as object | undefined) ?? {});
    return card.job === job.id || card.submittedAt > job.submitted_at;
  });
}

function outputsOf(cell: ICodeCellModel): Output[] {
  return cell.outputs.toJSON() as unknown as Output[];
}

function titleIn(card: Output): string {
  return String((card["data"] as Record<string, unknown>)["text/plain"]).split("\n")[0]!;
}
