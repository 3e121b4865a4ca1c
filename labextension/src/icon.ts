import { LabIcon } from "@jupyterlab/ui-components";

const cloud = "M7 18a4 4 0 0 1-.5-7.97A6 6 0 0 1 18 9.5a4.3 4.3 0 0 1 0 8.5";

function icon(name: string, paths: string): LabIcon {
  // themes fill what has both their class and a fill of its own
  const svgstr = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24" fill="none">
  <g class="jp-icon3" stroke="#616161" stroke-width="2" stroke-linejoin="round" stroke-linecap="round">
    ${paths}
  </g></svg>`;
  return new LabIcon({ name: `jupyter-remote:${name}`, svgstr });
}

export const jobsIcon = icon("jobs", `<path d="${cloud}"/><path d="M12 20v-8m-3 3 3-3 3 3"/>`);
export const runIcon = icon("run", `<path d="${cloud}"/><path d="M10 13v7l5-3.5z"/>`);
export const markIcon = icon("mark", `<path d="${cloud}H7"/>`);
