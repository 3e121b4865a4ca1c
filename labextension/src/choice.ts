// The machine that cells of a notebook run on: kept in its metadata, told to its kernel.

import type { ISessionContext } from "@jupyterlab/apputils";
import type { NotebookPanel } from "@jupyterlab/notebook";
import type { KernelMessage } from "@jupyterlab/services";
import { ISignal, Signal } from "@lumino/signaling";

export const KEY = "jupyter_remote"; // in the metadata of the notebook
export const LOCAL = "local";
export const MAGIC = "%%remote_run";

const MACHINE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/; // a notebook may come from anybody, and this becomes code
const SAYS = /^\s*%(%remote_run|remote\s+use)\b/m; // after these cells a kernel is asked for its defaults
const MORE = "?"; // they are more than the name of a machine
const ASKED =
  "(lambda d: '?' if {'gpu', 'cpus', 'memory', 'compare', 'session'} & d.keys() else d.get('machine', ''))" +
  "(__import__('jupyter_remote.notebook.context', fromlist=['current']).current().defaults)";
const RESTARTS = ["restarting", "autorestarting", "starting", "terminating"];

/** The machine of a notebook's metadata; empty: none was chosen. */
export function machineIn(metadata: unknown): string {
  const machine = (metadata as { machine?: unknown } | null | undefined)?.machine;
  return typeof machine === "string" && MACHINE.test(machine) ? machine : "";
}

/** What makes a kernel know the magics and, if one was chosen, the machine. */
export function codeFor(machine: string): string {
  const use = machine && MACHINE.test(machine) ? `\n%remote use -m ${machine}` : "";
  return `__import__('jupyter_remote')  # says what is missing\n%load_ext jupyter_remote${use}`;
}

export function isRemote(source: string): boolean {
  return /^\s*%%remote_run\b/.test(source);
}

/** Where a cell would run, by its first line or else by the choice; null: as its line says, which is more than a name. */
export function machineFor(source: string, machine: string): string | null {
  const line = isRemote(source) ? source.trimStart().split("\n", 1)[0]! : "";
  if (/\s(--gpu|--cpus|--memory|--compare|--session|-s)\b/.test(line)) return null;
  return /\s(?:-m|--machine)[\s=]+["']?([^\s"']+)/.exec(line)?.[1] ?? (machine || LOCAL);
}

/** One notebook's choice. */
export class Choice {
  private _changed = new Signal<this, void>(this);
  private _told = ""; // what the kernel was told last; empty: nothing yet
  private _hasMore = false;

  constructor(private _panel: NotebookPanel) {
    const { sessionContext } = _panel;
    sessionContext.kernelChanged.connect(this._forget, this);
    sessionContext.statusChanged.connect(this._statusChanged, this);
    _panel.content.modelChanged.connect(this._follow, this);
    this._follow();
  }

  /** Another machine. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get machine(): string {
    return machineIn(this._panel.content.model?.getMetadata(KEY));
  }

  /** The kernel's defaults say more of where cells run than the name of a machine. */
  get hasMore(): boolean {
    return this._hasMore && !this.machine;
  }

  /** Keeps a machine and tells it the kernel. Raises what the kernel says of it. */
  async choose(machine: string): Promise<void> {
    this._keep(machine);
    this._hasMore = false;
    const reply = await this.tell(machine);
    if (reply?.status === "error") throw new Error(`${reply.ename}: ${reply.evalue}`);
  }

  /** Has the kernel know the magics and the machine, before all that it is sent after this. */
  async tell(machine = this.machine): Promise<KernelMessage.IExecuteReplyMsg["content"] | null> {
    const kernel = this._panel.sessionContext.session?.kernel;
    if (!kernel) return null;
    this._told = machine || LOCAL;
    const future = kernel.requestExecute({ code: codeFor(machine), silent: true, stop_on_error: false });
    return (await future.done).content;
  }

  /** A cell is about to run: the first one of a kernel finds the machine of the notebook there. A
   * notebook that is only looked at runs nothing. */
  begins(): void {
    if (this.machine && this._told !== this.machine) void this.tell().catch(() => undefined); // the cell will say it
  }

  /** A cell ran: it may have changed the defaults, as may another page with the same kernel. */
  async ran(source: string): Promise<void> {
    const kernel = this._panel.sessionContext.session?.kernel;
    if (!kernel || !SAYS.test(source)) return;
    const future = kernel.requestExecute({ code: "", silent: true, user_expressions: { machine: ASKED } });
    const { content } = await future.done;
    if (content.status !== "ok") return;
    const told = content.user_expressions["machine"] as { data?: Record<string, unknown> } | undefined;
    const said = /^'([^']*)'$/.exec(String(told?.data?.["text/plain"]))?.[1];
    const machine = said === MORE ? "" : said;
    if (machine === undefined || (machine && !MACHINE.test(machine))) return;
    this._hasMore = said === MORE;
    this._told = machine || LOCAL;
    this._keep(machine);
  }

  /** No choice is no metadata: a notebook that does not use us has none of ours. */
  private _keep(machine: string): void {
    const model = this._panel.content.model;
    const { machine: before, ...others } = (model?.getMetadata(KEY) ?? {}) as Record<string, unknown>;
    const chosen = machine === LOCAL ? "" : machine;
    if (!model || (before ?? "") === chosen) return;
    const kept = chosen ? { ...others, machine: chosen } : others;
    if (Object.keys(kept).length) model.setMetadata(KEY, kept);
    else model.deleteMetadata(KEY);
  }

  private _follow(): void {
    this._panel.content.model?.metadataChanged.connect((_, { key }) => {
      if (key === KEY) this._changed.emit();
    });
    this._changed.emit();
  }

  private _forget(): void {
    this._told = "";
    this._hasMore = false;
  }

  private _statusChanged(_context: ISessionContext, status: string): void {
    if (RESTARTS.includes(status)) this._forget();
  }
}
