// The live job card. Draws one synced state, in the page where the static card was published or in
// an output of its own; asks to cancel over the kernel's control channel
// (answered while a cell blocks) and over the widget's comm. User text is only ever textContent.

const FINAL = ["completed", "failed", "cancelled"];
const CANCEL = "jupyter_remote_cancel";

function make(tag, className, parent, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

function duration(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

function money(ucredits) {
  const usd = ucredits / 1e8;
  if (usd === 0) return "$0";
  if (usd < 0.0001) return "<$0.0001";
  return usd >= 1 ? `$${usd.toFixed(2)}` : `$${usd.toFixed(4)}`;
}

function figures(state, ageS) {
  const live = state.started_at != null && !FINAL.includes(state.status);
  const elapsed = state.started_at == null ? null : (live ? state.now + ageS : state.ended_at ?? state.now) - state.started_at;
  const parts = [state.machine + (state.simulated ? " (simulated)" : "")];
  if (elapsed != null) parts.push(duration(elapsed));
  if (!state.is_priced) return parts;
  if (!state.rate_ucredits_per_h && !state.cost_ucredits) return [...parts, "free"];
  let cost = state.cost_ucredits + (live ? (state.rate_ucredits_per_h * ageS) / 3600 : 0);
  if (live && state.hold_ucredits) cost = Math.min(cost, state.hold_ucredits);
  parts.push(`${money(cost)} at $${Number((state.rate_ucredits_per_h / 1e8).toPrecision(4))}/h`);
  if (state.completion) {
    const [low, expected, high] = state.completion.cost_ucredits;
    const spread = money(low) === money(high) ? "" : ` (${money(low).slice(1)}–${money(high).slice(1)})`;
    parts.push(`≈ ${money(expected)}${spread} at completion`);
  }
  if (state.attempt > 1) parts.push(`attempt ${state.attempt}`);
  return parts;
}

function sendControl(model, job, force) {
  const kernel = model.widget_manager?.kernel;
  if (!kernel?.sendControlMessage) return Promise.reject(new Error("no control channel"));
  const header = {
    msg_id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, msg_type: CANCEL,
    session: kernel.clientId, username: kernel.username ?? "", date: new Date().toISOString(), version: "5.3",
  };
  const message = { channel: "control", header, parent_header: {}, metadata: {}, content: { job, force }, buffers: [] };
  return kernel.sendControlMessage(message, true, true).done;
}

async function cancel(model, job, force) {
  try {
    await sendControl(model, job, force);
  } catch {
    model.send({ event: "cancel", job, force }); // VS Code and others: read when the cell is done
  }
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

function build(el) {
  const card = make("div", "jr-card", el, { role: "group" });
  const head = make("div", "jr-head", card);
  const words = make("div", "jr-row jr-words", head);
  const view = { card };
  view.title = make("b", "jr-title", words);
  view.status = make("span", "jr-status", words, { role: "status", "aria-live": "polite" });
  view.figures = make("span", "jr-faint", words);
  view.button = make("button", "jr-cancel", head, { type: "button" });
  view.bars = new Bars(make("div", "jr-bars", card));
  view.load = make("div", "jr-faint jr-load", card);
  view.links = make("div", "jr-faint jr-links", card);
  return view;
}

function draw(view, state) {
  const text = state.texts;
  view.card.dataset.status = state.status;
  view.card.setAttribute("aria-label", `Job ${text.title}`);
  view.title.textContent = text.title;
  if (view.status.textContent !== text.status) view.status.textContent = text.status; // said once
  view.bars.draw(state.bars);
  view.load.textContent = text.load;
  view.links.replaceChildren(...text.links.map((link) => Object.assign(document.createElement("span"), { textContent: link })));
  const done = FINAL.includes(state.status);
  const asked = state.stopping !== "" || state.status === "cancelling";
  view.button.hidden = done;
  view.button.textContent = asked ? "Kill" : "Cancel";
  view.button.setAttribute("aria-label", `${asked ? "Kill" : "Cancel"} job ${text.title}`);
}

// One card of a model: drawn at each change of its state, its clock ticking between.
class View {
  constructor(model, el) {
    this.model = model;
    this.parts = build(el);
    this.parts.button.addEventListener("click", () => this.cancel());
    this.draw();
  }

  draw() {
    this.state = this.model.get("state");
    this.drawnAt = performance.now();
    draw(this.parts, this.state);
    this.tick();
  }

  tick() {
    const ageS = (performance.now() - this.drawnAt) / 1000;
    this.parts.figures.textContent = figures(this.state, ageS).join(" · ");
  }

  cancel() {
    const force = this.parts.button.textContent === "Kill";
    this.parts.status.textContent = force ? "killing…" : "cancelling…";
    this.parts.button.textContent = "Kill";
    cancel(this.model, this.state.id, force);
  }
}

const TICK_MS = 250;

// The published HTML of a job holds a place by name; there, in every copy of that output, the card
// lives for as long as its kernel does. A front end may draw the HTML later or again.
class Places {
  constructor(model) {
    this.model = model;
    this.found = document.getElementsByClassName(model.get("state").host); // follows the document
    this.views = new Map();
    this.observer = new MutationObserver(() => this.fill());
    this.focused = false;
    this.fill();
  }

  fill() {
    for (const place of this.found) if (!this.views.has(place)) this.take(place);
  }

  take(place) {
    const still = [...place.childNodes];
    place.replaceChildren();
    const view = new View(this.model, place);
    this.views.set(place, { view, still });
    this.observer.observe(place.parentNode, { childList: true });
    const { button } = view.parts;
    const nowhere = document.activeElement === document.body;
    if (this.focused && nowhere && !button.hidden) button.focus(); // it was drawn again under a keyboard
    button.addEventListener("focus", () => { this.focused = true; });
    button.addEventListener("blur", (event) => { this.focused = event.relatedTarget === null; });
  }

  each(action) {
    this.fill();
    for (const { view } of this.views.values()) action(view);
  }

  kernelGone() {
    this.observer.disconnect();
    for (const [place, { view, still }] of this.views) {
      place.replaceChildren(...still);
      const id = view.state.id.slice(0, 8);
      make("div", "jr-gone", place).textContent = `This kernel ended, the job may go on: %remote attach ${id}`;
    }
    this.views.clear();
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

export default {
  initialize({ model }) {
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
      places.observer.disconnect();
      model.off("comm_live_update", gone);
    };
  },
  render({ model, el }) {
    const view = new View(model, el);
    return live(model, (action) => action(view));
  },
};
