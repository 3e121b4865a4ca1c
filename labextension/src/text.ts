// A text that is read again as long as it goes on. Nothing of JupyterLab in here.

const AGAIN_MS = 1000;

export type Read = () => Promise<{ text: string; goesOn: boolean }>;

export class Text {
  readonly node = document.createElement("pre");
  private _timer = 0;
  private _isDisposed = false;
  private _goesOn = false; // when it was read last

  /** `_atEnd`: what came last is to be seen first. */
  constructor(
    label: string,
    private _read: Read,
    private _empty: string,
    private _atEnd: boolean,
  ) {
    this.node.tabIndex = 0;
    this.node.setAttribute("aria-label", label);
    void this._draw();
  }

  dispose(): void {
    this._isDisposed = true;
    window.clearTimeout(this._timer);
  }

  /** What hinders it stands in its place: a backend that starts anew is asked again. */
  private async _told(): Promise<{ text: string; goesOn: boolean }> {
    try {
      return await this._read();
    } catch (error) {
      return { text: (error as Error).message, goesOn: this._goesOn && this.node.isConnected };
    }
  }

  private async _draw(): Promise<void> {
    const told = await this._told();
    if (this._isDisposed) return;
    const { scrollHeight, scrollTop, clientHeight } = this.node;
    const text = told.text || this._empty;
    if (this.node.textContent !== text) this.node.textContent = text;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < 8; // who looks at something before it goes on doing so
    if (this._atEnd && isAtEnd) this.node.scrollTop = this.node.scrollHeight;
    this._goesOn = told.goesOn;
    if (told.goesOn) this._timer = window.setTimeout(() => void this._draw(), AGAIN_MS);
  }
}
