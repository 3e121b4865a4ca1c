// The texts as they are: the page has no translations.

import type { TranslationBundle } from "@jupyterlab/translation";

function filled(text: string, args: unknown[]): string {
  return text.replace(/%(\d)/g, (all, n: string) => (Number(n) <= args.length ? String(args[Number(n) - 1]) : all));
}

const one = (text: string, ...args: unknown[]): string => filled(text, args);
const some = (single: string, plural: string, n: number, ...args: unknown[]): string =>
  filled(n === 1 ? single : plural, [n, ...args]);

/** Those that our parts use; the others are there for the type. */
export const english: TranslationBundle = {
  __: one,
  _n: some,
  _p: (_, text, ...args) => one(text, ...args),
  _np: (_, single, plural, n, ...args) => some(single, plural, n, ...args),
  gettext: one,
  ngettext: some,
  pgettext: (_, text, ...args) => one(text, ...args),
  npgettext: (_, single, plural, n, ...args) => some(single, plural, n, ...args),
  dcnpgettext: (_, __, single, plural, n, ...args) => some(single, plural, n, ...args),
};
