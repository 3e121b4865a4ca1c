// Puts outputs where a page shows them.

import type { IOutputAreaModel } from "@jupyterlab/outputarea";
import { JSONExt, type ReadonlyPartialJSONObject } from "@lumino/coreutils";

import type { Home, Output } from "./home";

const BYTES_PER_MS = 1000;

/** What is read again and again is read the slower the more it is. */
export function msToRead(home: Home): number {
  return home.outputs ? JSON.stringify(home.outputs).length / BYTES_PER_MS : 0;
}

/** Outputs that are there already stay as they are drawn. */
export function write(outputs: IOutputAreaModel, target: Output[]): void {
  const model = outputs as unknown as { clearNext: boolean };
  const values = target as Parameters<IOutputAreaModel["set"]>[1][];
  model.clearNext = false; // whoever wanted that has gone
  if (outputs.length > values.length) return outputs.fromJSON(values);
  values.forEach((value, i) => {
    if (i < outputs.length) {
      if (!isSame(outputs.get(i).toJSON(), value)) outputs.set(i, value);
      return;
    }
    outputs.clear(true); // it forgets which stream it added to last: that may not be the last output any more
    model.clearNext = false;
    outputs.add(value);
  });
}

function isSame(one: unknown, other: unknown): boolean {
  return JSONExt.deepEqual(one as ReadonlyPartialJSONObject, other as ReadonlyPartialJSONObject);
}
