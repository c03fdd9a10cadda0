// One iteration on all threads and streams, with zoom, pan, search, and links between calls and the work they launched.
import { AXIS, currentPalette, layOut, paint, ROW, rowTop } from "../canvas.js";
import { choice, el, empty } from "../dom.js";
import { lacksTrace } from "../availability.js";
import { count, ns, plural } from "../format.js";
import { Lanes } from "../lanes.js";
import { go } from "../state.js";

const HELP = "Drag or ← → to pan, Ctrl+wheel or + − to zoom, double-click an event to zoom to it, 0 to show everything, / to search, n for the next hit.";
const MIN_WINDOW_NS = 50;
const MAX_HEIGHT = 12000;

export async function draw(root, context) {
  if (lacksTrace(root, context)) return;
  const key = `${context.row.id}/${context.case.index}/${context.trial}`;
  const trace = await context.store(`trace/${key}`);
  const iteration = context.state.iteration ?? trace.typical;
  const timeline = await context.store(`timeline/${key}/${iteration}`);
  if (!timeline.columns.start.length) {
    root.append(empty("This iteration has no events."));
    return;
  }
  const iterations = trace.iterations.map((row, i) => ({ ...row, i })).filter(({ i }) => context.store.has(`timeline/${key}/${i}`));
  root.append(new TimelineView(timeline, iterations, Number(iteration)).root);
}

class TimelineView {
  constructor(timeline, iterations, iteration) {
    this.lanes = new Lanes(timeline);
    const { tops, height } = layOut(this.lanes);
    this.tops = tops;
    this.height = Math.min(height, MAX_HEIGHT);
    this.view = { t0: this.lanes.first, t1: this.lanes.last, matches: null, selected: -1, hovered: -1 };
    this.hits = [];
    this.canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": `Timeline of ${timeline.name}. ${HELP}` });
    this.tip = el("div", { class: "tip", hidden: true });
    this.detail = el("div", { class: "detail", role: "status" });
    this.scroll = el("div", { class: "lanes" }, this.canvas);
    this.tally = el("span", { class: "dim", role: "status" });
    this.search = el("input", { type: "search", placeholder: "Search names", "aria-label": "Search names" });
    this.root = el("div", { class: "timeline", data: { events: this.lanes.count, lanes: this.lanes.lanes.length } },
      this.#tools(timeline, iterations, iteration), this.scroll, this.tip, this.detail, el("p", { class: "dim help", text: HELP }));
    this.#listen();
    this.#describe();
    new ResizeObserver(() => this.#resize()).observe(this.scroll);
  }

  #tools(timeline, iterations, iteration) {
    const button = (text, label, act) => el("button", { type: "button", class: "quiet", text, "aria-label": label, title: label, on: { click: act } });
    const options = iterations.map((row) => [row.i, `${row.name} · ${ns(row.dur_ns)}`]);
    return el("div", { class: "tools" },
      options.length ? choice("Iteration", options, iteration, (i) => go({ iteration: i })) : null,
      this.search, this.tally,
      button("+", "Zoom in", () => this.#zoom(0.5)), button("−", "Zoom out", () => this.#zoom(2)), button("All", "Show everything", () => this.#showAll()),
      el("span", { class: "legend" }, ...this.#legend()),
      el("span", { class: "dim", text: `${plural(this.lanes.count, "event")}${timeline.left_out ? `; the ${count(timeline.left_out)} shortest are left out to keep this file small` : ""}` }));
  }

  #legend() {
    const present = new Set(this.lanes.kind);
    return this.lanes.kinds.flatMap((kind, i) => (present.has(i) ? [el("span", {}, el("i", { class: `swatch ${kind.replace(" ", "-")}` }), el("span", { text: kind }))] : []));
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.#zoom(event.deltaY > 0 ? 1.25 : 0.8, this.#moment(event.offsetX));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#drag(event));
    canvas.addEventListener("pointermove", (event) => this.#hover(event));
    canvas.addEventListener("pointerleave", () => this.#point(-1));
    canvas.addEventListener("dblclick", (event) => this.#focus(this.#under(event)));
    this.root.addEventListener("fit", () => this.#resize());
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.scroll.addEventListener("scroll", () => this.#scheduleDraw());
    this.search.addEventListener("input", () => this.#find());
  }

  #moment(x) {
    return this.view.t0 + (x / this.width) * (this.view.t1 - this.view.t0);
  }

  #under(event) {
    const slack = (2 * (this.view.t1 - this.view.t0)) / this.width;
    for (const row of this.lanes.rows) {
      const y = rowTop(this.tops, row);
      if (event.offsetY >= y && event.offsetY < y + ROW) return this.lanes.at(row, this.#moment(event.offsetX), slack);
    }
    return -1;
  }

  #drag(down) {
    const { t0, t1 } = this.view;
    let moved = false;
    this.canvas.setPointerCapture(down.pointerId);
    const move = (event) => {
      moved ||= Math.abs(event.offsetX - down.offsetX) > 3;
      const by = ((down.offsetX - event.offsetX) / this.width) * (t1 - t0);
      if (moved) this.#show(t0 + by, t1 + by);
    };
    const up = () => {
      this.canvas.removeEventListener("pointermove", move);
      if (!moved) this.#select(this.#under(down));
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", up, { once: true });
  }

  #hover(event) {
    const i = event.buttons > 0 ? -1 : this.#under(event);
    this.#point(i);
    if (i < 0) return;
    const launch = this.lanes.describeLaunch(i);
    const lines = [`${this.lanes.kindOf(i)} · ${ns(this.lanes.dur[i])}`, ...(launch ? [launch.join(" ")] : [])];
    this.tip.replaceChildren(el("strong", { text: this.lanes.nameOf(i) }), ...lines.map((text) => el("span", { text })));
    const edge = this.root.getBoundingClientRect();
    this.tip.style.left = `${Math.max(0, Math.min(event.clientX - edge.left + 12, edge.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${event.clientY - edge.top + 14}px`;
  }

  // Sets the event under the pointer (-1 for none); an arrow shows its launch
  #point(i) {
    this.tip.hidden = i < 0;
    if (i === this.view.hovered) return;
    const redraw = this.lanes.link(i) || this.lanes.link(this.view.hovered);
    this.view.hovered = i;
    if (redraw) this.#scheduleDraw();
  }

  #select(i) {
    this.view.selected = i;
    this.root.dataset.selected = i < 0 ? "" : this.lanes.nameOf(i);
    this.#describe();
    this.#scheduleDraw();
  }

  #describe() {
    const { lanes, view: { selected: i } } = this;
    if (i < 0) {
      this.detail.replaceChildren(el("span", { class: "dim", text: "Click an event to see its duration, what contains it, and its launch." }));
      return;
    }
    const lines = [["kind", `${lanes.kindOf(i)} on ${lanes.lanes[lanes.lane[i]].name}`], ["start", ns(lanes.start[i])], ["duration", ns(lanes.dur[i])]];
    const launch = lanes.describeLaunch(i);
    if (launch) lines.push(launch);
    const ancestors = lanes.ancestors(i).filter((ancestor) => lanes.kindOf(ancestor) !== "call");
    if (ancestors.length) lines.push(["inside", ancestors.map((ancestor) => lanes.nameOf(ancestor)).join(" ‹ ")]);
    this.detail.replaceChildren(el("strong", { text: lanes.nameOf(i) }),
      el("dl", {}, ...lines.flatMap(([label, text]) => [el("dt", { text: label }), el("dd", { text })])));
  }

  #key(event) {
    if (event.target === this.search) {
      if (event.key === "Enter") this.#next();
      return;
    }
    if (event.target !== this.canvas && !(event.key === "/")) return;
    const step = (this.view.t1 - this.view.t0) / 5;
    const actions = {
      "+": () => this.#zoom(0.5), "=": () => this.#zoom(0.5), w: () => this.#zoom(0.5),
      "-": () => this.#zoom(2), s: () => this.#zoom(2), 0: () => this.#showAll(),
      ArrowLeft: () => this.#show(this.view.t0 - step, this.view.t1 - step), a: () => this.#show(this.view.t0 - step, this.view.t1 - step),
      ArrowRight: () => this.#show(this.view.t0 + step, this.view.t1 + step), d: () => this.#show(this.view.t0 + step, this.view.t1 + step),
      n: () => this.#next(), "/": () => this.search.focus(), Escape: () => this.#select(-1),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    action();
  }

  #zoom(by, around = (this.view.t0 + this.view.t1) / 2) {
    this.#show(around - (around - this.view.t0) * by, around + (this.view.t1 - around) * by);
  }

  #showAll() {
    this.#show(this.lanes.first, this.lanes.last);
  }

  #show(t0, t1) {
    const whole = this.lanes.last - this.lanes.first;
    const span = Math.min(whole, Math.max(MIN_WINDOW_NS, t1 - t0));
    const from = Math.min(Math.max(t0, this.lanes.first), this.lanes.last - span);
    Object.assign(this.view, { t0: from, t1: from + span });
    this.#scheduleDraw();
  }

  #focus(i) {
    if (i < 0) return;
    const margin = Math.max(MIN_WINDOW_NS, this.lanes.dur[i]);
    this.#show(this.lanes.start[i] - margin, this.lanes.start[i] + this.lanes.dur[i] + margin);
    this.#select(i);
  }

  #find() {
    const text = this.search.value;
    const { matches, events } = text ? this.lanes.search(text) : { matches: null, events: [] };
    this.view.matches = matches;
    this.hits = events;
    this.tally.textContent = text ? plural(events.length, "hit") : "";
    this.#scheduleDraw();
  }

  #next() {
    if (!this.hits.length) return;
    const index = this.hits.indexOf(this.view.selected);
    const i = this.hits[(index + 1) % this.hits.length];
    this.#focus(i);
    const y = this.tops[this.lanes.lane[i]] + this.lanes.row[i] * ROW;
    if (y < this.scroll.scrollTop + AXIS || y > this.scroll.scrollTop + this.scroll.clientHeight - 2 * ROW) this.scroll.scrollTop = y - 3 * ROW;
  }

  #resize() {
    this.width = this.scroll.clientWidth;
    if (!this.width) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    this.canvas.style.height = `${this.height}px`;
    this.pen = this.canvas.getContext("2d");
    this.pen.scale(ratio, ratio);
    this.palette = currentPalette(this.lanes);
    this.#draw();
  }

  #scheduleDraw() {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = null;
      this.#draw();
    });
  }

  #draw() {
    if (!this.pen) return;
    const top = this.scroll.scrollTop;
    const view = { ...this.view, width: this.width, top, bottom: top + this.scroll.clientHeight };
    this.root.dataset.drawn = paint(this.pen, this.lanes, this.tops, view, this.palette);
    this.root.dataset.links = [view.selected, view.hovered].filter((i) => this.lanes.link(i)).length;
    this.root.dataset.window = `${Math.round(view.t0)} ${Math.round(view.t1)}`;
  }
}
