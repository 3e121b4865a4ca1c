import type { ISettingRegistry } from "@jupyterlab/settingregistry";
import { expect, test } from "vitest";

import { forceAfterOf } from "./settings";

test("a page without a time says so, since an earlier page may have told the kernel one", async () => {
  const composite: Record<string, number> = {};
  const registry = { load: async () => ({ composite }) } as unknown as ISettingRegistry;
  const forceAfter = forceAfterOf(registry);
  expect(forceAfter()).toBeUndefined();
  await Promise.resolve();
  expect(forceAfter()).toBeNull();
  composite["forceAfter"] = 0;
  expect(forceAfter()).toBe(0);
  expect(forceAfterOf(null)()).toBeUndefined();
});
