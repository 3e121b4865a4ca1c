// The live job card. Draws one synced state, in the page where the static card was published or in
// an output of its own; asks to cancel over the kernel's control channel
// (answered while a cell blocks) and over the widget's comm. User text is only ever textContent.

const CANCEL = "jupyter_remote_cancel";
const SETTING = "jupyter_remote_setting";
const FINAL = ["completed", "failed", "cancelled"];
const SAVING = "saving result"; // its code has ended: it is not killed
const TICK_MS = 250;
const ANSWERED_MS = 5000; // after which a Cancel that changed nothing reached nobody
const DISARMED_MS = 1500; // after Cancel became Kill: a double click is no order to kill

function make(tag, className, parent, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

// As amounts.duration and meter.text_of say it.
export function duration(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.floor((whole % 3600) / 60);
  return `${Math.floor(whole / 3600)} h${minutes ? ` ${two(minutes)} min` : ""}`;
}

export function money(ucredits) {
  const usd = ucredits / 1e8;
  if (usd === 0) return "$0";
  if (usd < 0.00005) return "<$0.0001";
  const digits = usd >= 0.99995 ? 2 : 4;
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function interval(low, expected, high) {
  const bare = (ucredits) => money(ucredits).replace("$", "");
  return money(low) === money(high) ? money(expected) : `${money(expected)} (${bare(low)}–${bare(high)})`;
}

export function rate(ucreditsPerH) {
  return ucreditsPerH ? `$${Number((ucreditsPerH / 1e8).toPrecision(4))}/h` : "free";
}

// As words.deadline says it: when a job that is to stop is killed. `now` is of the backend's clock.
export function deadline(job, now) {
  if (job.status !== "cancelling" || job.stage === SAVING) return "";
  if (job.kill_at == null) return "not killed while its code goes on";
  const left = Math.ceil(job.kill_at - now);
  if (left <= 0) return "killing…";
  return `killed in ${left < 60 ? `${left} s` : duration(left)}`;
}

// What of the user's setting a cancel is told: a cell takes its session along when it is killed, so
// that this is done only by hand.
export function forceAfter(job, setting) {
  return job.kind === "cell" && job.session ? undefined : setting;
}

function figures(state, ageS) {
  const parts = [state.machine + (state.simulated ? " (simulated)" : "")];
  if (state.attempt > 1) parts.push(`attempt ${state.attempt}`);
  if (state.ticks) parts.push(duration(state.now + ageS - state.started_at) + state.texts.of);
  else if (FINAL.includes(state.status) && state.started_at != null) parts.push(duration(state.ended_at - state.started_at));
  if (!state.is_priced) return parts;
  if (!state.rate_ucredits_per_h && !state.cost_ucredits) return [...parts, state.texts.unpriced];
  let cost = state.cost_ucredits + (state.ticks ? (state.rate_ucredits_per_h * ageS) / 3600 : 0);
  if (state.ticks && state.hold_ucredits) cost = Math.min(cost, state.hold_ucredits);
  parts.push(`${money(cost)} at ${rate(state.rate_ucredits_per_h)}`);
  if (state.completion) {
    parts.push(`≈ ${interval(...state.completion.cost_ucredits)} at completion`);
  } else if (state.texts.expected) parts.push(state.texts.expected);
  const allowed = state.fuse?.startsWith("budget ") ? state.hold_ucredits : state.max_cost_ucredits;
  if (allowed && state.rate_ucredits_per_h) {
    const share = Math.min(1, cost / allowed);
    parts.push(`${Math.round(100 * share)} % of ${money(allowed)}`);
  }
  return parts;
}

function sendControl(model, type, content) {
  const kernel = model.widget_manager?.kernel;
  if (!kernel?.sendControlMessage) return Promise.reject(new Error("no control channel"));
  const header = {
    msg_id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, msg_type: type,
    session: kernel.clientId, username: kernel.username ?? "", date: new Date().toISOString(), version: "5.3",
  };
  const message = { channel: "control", header, parent_header: {}, metadata: {}, content, buffers: [] };
  return kernel.sendControlMessage(message, true, true).done;
}

// Our extension, where the page has it, asks the backend itself: no kernel is needed for that. It
// may know another backend than the kernel does, or be without one. A page that connects to its
// kernel anew drops what it sent, and may send it again.
export async function cancel(model, state, force) {
  const asked = { job: state.id, force, force_after_s: forceAfter(state, globalThis.jupyterRemoteForceAfter?.()) };
  const control = () => sendControl(model, CANCEL, asked);
  const http = globalThis.jupyterRemoteCancel && (() => globalThis.jupyterRemoteCancel(asked.job, force, asked.force_after_s));
  for (const way of [http, control, control]) {
    try {
      if (way) return await way();
    } catch {
      continue;
    }
  }
  return model.send({ event: "cancel", ...asked }); // VS Code and others: read when the cell is done
}

// The notebook's stop button reaches jobs by way of their kernel, which knows no settings of a page.
// Returns what the kernel was told; `before`: what it was told last.
export function tellSetting(model, before) {
  const after = globalThis.jupyterRemoteForceAfter?.();
  if (after !== before) sendControl(model, SETTING, { force_after_s: after }).catch(() => {}); // no kernel, or an older one
  return after;
}

class Bars {
  constructor(parent) {
    this.parent = parent;
    this.rows = new Map();
  }

  draw(bars) {
    const seen = new Set();
    for (const bar of bars) {
      seen.add(bar.id);
      this.drawOne(this.rows.get(bar.id) ?? this.add(bar), bar);
    }
    for (const [id, row] of this.rows) {
      if (seen.has(id)) continue;
      row.box.remove();
      this.rows.delete(id);
    }
    bars.forEach((bar, i) => {
      const { box } = this.rows.get(bar.id);
      if (this.parent.children[i] !== box) this.parent.insertBefore(box, this.parent.children[i] ?? null);
    });
  }

  add(bar) {
    const box = make("div", "jr-bar", this.parent);
    const line = make("div", "jr-row", box);
    const row = { box, label: make("span", "jr-label", line), text: make("span", "jr-faint", line) };
    row.track = make("div", "jr-track", box, { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 });
    row.fill = make("div", "jr-fill", row.track);
    this.rows.set(bar.id, row);
    return row;
  }

  drawOne(row, bar) {
    row.box.style.marginLeft = `${Math.min(bar.depth, 6) * 16}px`;
    row.label.textContent = bar.label;
    row.text.textContent = bar.text;
    row.track.setAttribute("aria-label", bar.label || "progress");
    row.track.setAttribute("aria-valuetext", bar.text);
    row.track.hidden = bar.fraction == null && bar.closed;
    row.track.classList.toggle("jr-unknown", bar.fraction == null);
    row.track.classList.toggle("jr-full", bar.fraction === 1);
    if (bar.fraction == null) {
      row.track.removeAttribute("aria-valuenow");
      row.fill.style.width = "";
    } else {
      row.track.setAttribute("aria-valuenow", Math.round(100 * bar.fraction));
      row.fill.style.width = `${(100 * bar.fraction).toFixed(1)}%`;
    }
  }
}

const SVG = "http://www.w3.org/2000/svg";
const SAMPLES = 60;
const FEW = 15; // steps that fill the width at least: a line that has just begun is short
const [WIDTH, HEIGHT] = [72, 18];

// Small graphs of what a job uses. They keep what they heard: a state holds some samples, or one.
export class Graphs {
  constructor(parent) {
    this.parent = parent;
    this.rows = new Map();
  }

  // `told` as cards/graphs.py makes it. Returns whether there is a line to be seen.
  draw(told) {
    const { at = [], lines = [] } = told ?? {};
    for (const line of lines) this.drawOne(this.rows.get(line.name) ?? this.add(line.name), line, at);
    for (const [name, row] of this.rows) {
      if (lines.some((line) => line.name === name)) continue;
      row.box.remove();
      this.rows.delete(name);
    }
    const seen = [...this.rows.values()].some(({ samples }) => samples.length > 1);
    this.parent.hidden = !seen;
    return seen;
  }

  add(name) {
    const box = make("span", "jr-graph", this.parent);
    const svg = document.createElementNS(SVG, "svg");
    const line = document.createElementNS(SVG, "polyline");
    for (const [key, value] of [["role", "img"], ["width", WIDTH], ["height", HEIGHT], ["viewBox", `0 0 ${WIDTH} ${HEIGHT}`]]) {
      svg.setAttribute(key, value);
    }
    svg.append(line);
    box.append(svg);
    const row = { box, svg, line, text: make("span", "jr-faint", box), samples: [] };
    this.rows.set(name, row);
    return row;
  }

  drawOne(row, { text, values, most = 0, least = 0 }, at) {
    at.forEach((time, i) => {
      const last = row.samples.at(-1);
      if (!last || time > last[0]) row.samples.push([time, values[i]]);
    });
    row.samples = row.samples.slice(-SAMPLES);
    const full = most || Math.max(...row.samples.map(([, value]) => value), least, 1);
    const step = WIDTH / Math.max(FEW, row.samples.length - 1);
    const high = (value) => 1 + (HEIGHT - 2) * (1 - Math.min(1, Math.max(0, value / full)));
    const points = row.samples.map(([, value], i) => `${(i * step).toFixed(1)},${high(value).toFixed(1)}`);
    row.line.setAttribute("points", points.join(" "));
    row.svg.setAttribute("aria-label", text);
    row.box.title = text;
    row.text.textContent = text;
  }
}

function build() {
  const card = document.createElement("div");
  card.className = "jr-card";
  card.setAttribute("role", "group");
  const head = make("div", "jr-head", card);
  const words = make("div", "jr-row jr-words", head);
  const parts = { card };
  parts.title = make("b", "jr-title", words);
  parts.status = make("span", "jr-status", words, { role: "status", "aria-live": "polite" });
  parts.deadline = make("span", "jr-deadline jr-faint", words); // counts: not to be said each second
  parts.button = make("button", "jr-cancel", head, { type: "button" });
  parts.figures = make("div", "jr-faint", card);
  parts.bars = new Bars(make("div", "jr-bars", card));
  parts.graphs = new Graphs(make("div", "jr-graphs", card));
  parts.load = make("div", "jr-faint jr-load", card);
  parts.left = make("div", "jr-faint", card);
  parts.links = make("div", "jr-row jr-faint jr-links", card);
  return parts;
}

function drawLinks(parent, links) {
  if (parent.childElementCount === links.length) return; // one that is open stays open
  parent.replaceChildren();
  for (const [label, command] of links) {
    const details = make("details", "", parent);
    make("summary", "", details).textContent = label;
    make("code", "", details).textContent = command;
  }
}

// JupyterLab keeps the box of a question that a cell asked, and runs no other cell before it is
// answered, although the kernel waits for nothing any more. It is hidden: its widget goes by itself.
function asksNoMore(model, area) {
  for (const box of area?.querySelectorAll(".jp-OutputArea-stdin-item") ?? []) {
    box.style.display = "none";
    if (model.widget_manager?.kernel) model.widget_manager.kernel.hasPendingInput = false;
  }
}

// One card of a model: drawn at each change of its state, its clock ticking between.
export class View {
  constructor(model) {
    this.model = model;
    this.parts = build();
    this.asked = false; // by this card, or as its job says
    this.askedAt = 0;
    this.failure = null; // of what was asked last; it stands until there is something else to say
    this.armedAt = 0;
    this.focused = false;
    this.clicks = 0;
    this.setting = undefined; // that the kernel was told
    this.listen(this.parts.button);
    this.draw();
  }

  listen(button) {
    button.addEventListener("click", ({ timeStamp }) => {
      this.clicks += 1;
      this.cancel(timeStamp); // a page that is busy may come to it late
    });
    button.addEventListener("pointerdown", () => this.pressed());
    button.addEventListener("focus", () => { this.focused = true; });
    button.addEventListener("blur", () => queueMicrotask(() => { // not when it left the page with its output
      if (button.isConnected && document.activeElement !== button) this.focused = false;
    }));
  }

  // There is no click where the card is moved to a new output between press and release.
  pressed() {
    const released = ({ target }) => {
      const before = this.clicks;
      const lost = () => before === this.clicks && this.cancel();
      if (this.parts.button.contains(target)) setTimeout(lost);
    };
    document.addEventListener("pointerup", released, { once: true, capture: true });
  }

  draw() {
    const before = this.state;
    this.state = this.model.get("state");
    this.drawnAt = performance.now();
    this.area = this.parts.card.closest(".jp-OutputArea") ?? this.area; // the last state comes when it has left
    const { card, title, status, bars, graphs, load, left, links } = this.parts;
    const text = this.state.texts;
    card.dataset.status = this.state.status;
    card.setAttribute("aria-label", `Job ${text.title}`);
    title.textContent = text.title;
    const said = this.failure?.after === text.status ? this.failure.text : text.status;
    if (status.textContent !== said) status.textContent = said; // said once
    bars.draw(this.state.bars);
    load.hidden = graphs.draw(this.state.graphs); // which say the same
    load.textContent = text.load;
    left.textContent = text.left;
    drawLinks(links, text.links);
    this.setting = tellSetting(this.model, this.setting);
    if (this.isStopping()) this.ask();
    this.tick();
    const ends = before && !FINAL.includes(before.status) && FINAL.includes(this.state.status);
    if (ends && this.state.kind === "cell") asksNoMore(this.model, this.area);
  }

  isStopping() {
    return this.state.stopping !== "" || this.state.status === "cancelling";
  }

  tick() {
    const now = performance.now();
    const unheard = this.asked && !this.isStopping() && now - this.askedAt > ANSWERED_MS;
    if (unheard && !FINAL.includes(this.state.status)) this.fail("not cancelled: nobody answers");
    const ageS = (now - this.drawnAt) / 1000;
    const { button, figures: line, deadline: until } = this.parts;
    line.textContent = figures(this.state, ageS).join(" · ");
    until.textContent = deadline(this.state, this.state.now + ageS);
    until.hidden = !until.textContent;
    button.hidden = FINAL.includes(this.state.status);
    const label = this.asked ? "Kill" : "Cancel";
    if (button.textContent !== label) button.textContent = label;
    button.setAttribute("aria-label", `${label} job ${this.state.texts.title}`);
    button.setAttribute("aria-disabled", now < this.armedAt);
  }

  ask() {
    if (!this.asked) this.armedAt = performance.now() + DISARMED_MS;
    this.asked = true;
  }

  cancel(at = performance.now()) {
    if (at < this.armedAt) return;
    const force = this.asked;
    this.ask();
    this.askedAt = performance.now();
    this.failure = null;
    this.parts.status.textContent = force ? "killing…" : "cancelling…";
    this.tick();
    const heard = (reply) => {
      if (reply?.id === this.state.id) this.askedAt = Infinity; // the job: its backend knows
    };
    cancel(this.model, this.state, force).then(heard, () => {
      this.fail(`not ${force ? "killed" : "cancelled"}: nobody answers`);
      this.tick();
    });
  }

  fail(text) {
    this.failure = { text, after: this.state.texts.status };
    this.asked = this.isStopping();
    this.armedAt = 0;
    this.parts.status.textContent = text;
  }

  refocus(element) {
    if (this.focused && document.activeElement === document.body) element?.focus({ preventScroll: true });
  }
}

// The published HTML of a job holds a place by name; there, in every copy of that output, the card
// lives for as long as its kernel does. Where the output is drawn anew, as after it was cleared, the
// same card moves into the new place before anything is painted.
class Places {
  constructor(model) {
    this.model = model;
    this.found = document.getElementsByClassName(model.get("state").host); // follows the document
    this.views = new Map();
    this.still = new WeakMap();
    this.anchor = null;
    this.observer = new MutationObserver(() => this.fill());
    this.observe(document.body);
    this.fill();
  }

  observe(node) {
    this.observer.observe(node, { childList: true, subtree: true });
  }

  fill() {
    for (const place of this.found) if (!this.views.has(place)) this.take(place);
  }

  take(place) {
    if (!this.anchor) this.observer.disconnect(); // from the whole page
    this.observe(place.closest(".jp-OutputArea") ?? place.parentNode);
    this.anchor = place.closest("[tabindex]") ?? this.anchor;
    this.still.set(place, [...place.childNodes]);
    const view = this.left() ?? new View(this.model);
    place.replaceChildren(view.parts.card);
    this.views.set(place, view);
    view.refocus(view.parts.button);
  }

  // The card of a place that is not in the page any more.
  left() {
    for (const [place, view] of this.views) {
      if (place.isConnected) continue;
      this.views.delete(place);
      return view;
    }
    return null;
  }

  each(action) {
    this.fill();
    for (const view of this.views.values()) action(view);
  }

  close() {
    this.observer.disconnect();
    for (const view of this.views.values()) view.refocus(this.anchor);
    this.views.clear();
  }

  kernelGone() {
    for (const [place, { state }] of this.views) {
      place.replaceChildren(...this.still.get(place));
      make("div", "jr-gone", place).textContent = `This kernel ended, the job may go on: %remote attach ${state.id.slice(0, 8)}`;
    }
    this.close();
  }
}

function live(model, each) {
  const update = () => each((view) => view.draw());
  const timer = setInterval(() => each((view) => view.tick()), TICK_MS);
  model.on("change:state", update);
  return () => {
    clearInterval(timer);
    model.off("change:state", update);
  };
}

// anywidget has what comes wait for this module, and drops it all, now and later, where the module
// took more than 2 s: in a page that is busy. The model under it takes it as any widget does.
async function hear(model) {
  const heard = await model.widget_manager?.get_model?.(model.get("id"));
  const { _handle_comm_msg: take } = Object.getPrototypeOf(Object.getPrototypeOf(heard));
  heard.comm?.on_msg(take.bind(heard));
}

export default {
  initialize({ model }) {
    hear(model).catch(() => {}); // a front end that does it otherwise
    if (!model.get("state").host) return undefined; // it has an output of its own: see render
    const places = new Places(model);
    const stop = live(model, (action) => places.each(action));
    const gone = () => {
      stop();
      places.kernelGone();
    };
    model.on("comm_live_update", gone);
    return () => {
      stop();
      places.close();
      model.off("comm_live_update", gone);
    };
  },
  render({ model, el }) {
    const view = new View(model);
    el.append(view.parts.card);
    return live(model, (action) => action(view));
  },
};
