// Where a link that signs in leads. Its code is behind the `#`, which no browser sends; it leaves the
// address, and so the history, before anything is asked.

import type { Ask, BackendError } from "../asking";
import { make } from "../row";
import type { PageSession } from "../wire";

export function takeCode(location: Location, history: History): string {
  const code = location.hash.slice(1);
  if (code) history.replaceState(null, "", location.pathname);
  return code;
}

function box(title: string): { node: HTMLElement; text: HTMLElement } {
  document.body.replaceChildren();
  const node = make("main", "jr-door", document.body);
  make("h1", "", node, title);
  const text = make("p", "", node);
  text.setAttribute("role", "status");
  return { node, text };
}

/** Says how to sign in; what was to be seen before is not there any more. */
export function tellSignedOut(title: string): void {
  const { node, text } = box(title);
  text.append("A link signs you in. It is made by ");
  make("code", "", text, "jupyter remote page");
  text.append(" on the computer of your notebooks, or by ");
  make("code", "", text, "%remote page");
  text.append(" in a notebook.");
  make("a", "jr-door-link", node, "Try again").href = "jobs";
}

/** One button: a program that only looks at the address uses nothing up. */
export function offer(ask: Ask, code: string, done: () => void): void {
  if (!code) return tellSignedOut("Sign in with a link");
  const { node, text } = box("Remote jobs");
  text.textContent = "This link signs this browser in, once: it sees your jobs, and can cancel them.";
  const button = make("button", "jr-door-button", node, "Sign in");
  button.onclick = async () => {
    button.disabled = true;
    try {
      await ask<PageSession>("POST", "page/session", {}, { code });
      done();
    } catch (error) {
      const { message, hint, code } = error as BackendError;
      text.textContent = [message, hint].filter(Boolean).join(" ");
      button.disabled = false;
      button.hidden = code === "not_authenticated";
    }
  };
  button.focus();
}
