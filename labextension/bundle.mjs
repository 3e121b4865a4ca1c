// Bundles the extension with plain Node: no Python, no network.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(import.meta.url);
const folder = (name) => path.dirname(require.resolve(`${name}/package.json`));
const builder = path.join(folder("@jupyter/builder"), "lib", "build-labextension.js");
const core = path.join(folder("@jupyterlab/core-meta"), "core.package.json");
const run = spawnSync(process.execPath, [builder, "--core-package-file", core, "."], { stdio: "inherit" });
process.exit(run.status ?? 1);
