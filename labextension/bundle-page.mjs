// Bundles the page of jobs into the Python package, with the bundler that JupyterLab's builder brings.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const here = createRequire(import.meta.url);
const { rspack } = createRequire(here.resolve("@jupyter/builder/package.json"))("@rspack/core");
const target = path.resolve(import.meta.dirname, "../jupyter_remote/server/page_files");

rmSync(target, { recursive: true, force: true });
const compiler = rspack({
  mode: "production",
  context: import.meta.dirname,
  entry: { page: ["./lib/page/main.js", "./style/page.css"] },
  output: { path: target, filename: "[name].[contenthash].js", cssFilename: "[name].[contenthash].css", clean: true },
  experiments: { css: true },
  module: { rules: [{ test: /\.js$/, resolve: { fullySpecified: false } }, { test: /\.css$/, type: "css" }] },
  performance: { maxAssetSize: 60_000, maxEntrypointSize: 80_000, hints: "error" },
});
compiler.run((error, stats) => {
  if (error || stats.hasErrors()) {
    console.error(error ?? stats.toString("errors-only"));
    process.exit(1);
  }
  const icon = readFileSync(path.join(import.meta.dirname, "style/icon.svg"));
  mkdirSync(target, { recursive: true });
  writeFileSync(path.join(target, `icon.${createHash("sha256").update(icon).digest("hex").slice(0, 16)}.svg`), icon);
  for (const { name, size } of stats.toJson({ assets: true }).assets) console.log(`${name} ${(size / 1000).toFixed(1)} kB`);
});
