// The page of jobs: the panel of JupyterLab without JupyterLab.

import { type Ask, askerOf, type BackendError } from "../asking";
import { Jobs } from "../jobs";
import { JobsPanel } from "../panel";
import { make } from "../row";
import type { PageSession } from "../wire";
import { actionsOf } from "./actions";
import { keepInAddress } from "./address";
import { offer, takeCode, tellSignedOut } from "./signin";
import { SeenTimer } from "./timer";
import { signedOut, wayOf } from "./way";
import { english } from "./words";

const way = wayOf((url, init) => fetch(url, init));
const ask = askerOf(way);

/** Whose jobs they are, and a way out. */
class Head {
  private _who: HTMLElement;
  private _isKnown = false;

  constructor(
    private _body: HTMLElement,
    private _ask: Ask,
    private _gone: (title: string) => void,
  ) {
    const head = make("header", "jr-page-head", _body);
    make("h1", "", head, english.__("Remote jobs"));
    this._who = make("span", "jr-page-who", head);
    const out = make("button", "jr-panel-button", head, english.__("Sign out"));
    out.onclick = () => void this._signOut();
  }

  async draw(): Promise<void> {
    if (this._isKnown) return;
    try {
      const { owner, scopes } = await this._ask<PageSession>("GET", "page/session");
      this._isKnown = true;
      this._who.textContent = owner;
      this._body.classList.toggle("jr-only-looks", !scopes.includes("cancel"));
    } catch (error) {
      if ((error as BackendError).code === "not_authenticated") this._gone(signedOut().message);
    }
  }

  private async _signOut(): Promise<void> {
    try {
      await this._ask<PageSession>("DELETE", "page/session");
    } catch (error) {
      const { code, message } = error as BackendError;
      if (code !== "not_authenticated") return void (this._who.textContent = english.__("Not signed out: %1", message));
    }
    this._gone(english.__("You are signed out"));
  }
}

function showJobs(body: HTMLElement): void {
  const jobs = new Jobs(ask, new SeenTimer(document, window));
  const panel = new JobsPanel(jobs, ask, actionsOf(jobs, ask, way), english);
  const gone = (title: string): void => {
    if (panel.isDisposed) return;
    jobs.dispose();
    panel.dispose();
    tellSignedOut(title);
  };
  const head = new Head(body, ask, gone);
  jobs.changed.connect(() => {
    if (jobs.trouble?.code === "signed_out") gone(jobs.trouble.message);
    else if (!jobs.trouble) void head.draw();
  });
  const main = make("main", "jr-page", body);
  main.append(panel.node);
  panel.show(true);
  keepInAddress(panel, window);
  window.addEventListener("resize", () => panel.resize());
  document.addEventListener("visibilitychange", () => !document.hidden && !panel.isDisposed && void jobs.refresh());
}

if (location.pathname.endsWith("/login")) {
  const begin = (): void => offer(ask, takeCode(location, history), () => location.replace("jobs"));
  window.addEventListener("hashchange", begin); // another link, put into the address of this page
  begin();
} else showJobs(document.body);
