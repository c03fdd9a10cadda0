// One iteration on all threads and streams: zoom, pan, search, and the way from a call to the work that it launched.
import { AXIS, colours, heights, paint, ROW, rowTop } from "../canvas.js";
import { choice, el, empty } from "../dom.js";
import { untraced } from "../elsewhere.js";
import { count, counted, ns } from "../format.js";
import { Lanes } from "../lanes.js";
import { go } from "../state.js";

const HELP = "Drag to move, Ctrl+wheel or + and − to zoom, ← → to move, 0 to see all, double-click to zoom to an event, / to search, n for the next hit.";
const CLOSEST_NS = 50;
const MOST_HEIGHT = 12000;

export async function draw(root, context) {
  if (untraced(root, context)) return;
  const key = `${context.row.id}/${context.case.index}/${context.trial}`;
  const about = await context.store(`trace/${key}`);
  const iteration = context.state.iteration ?? about.typical;
  const found = await context.store(`timeline/${key}/${iteration}`);
  if (!found.columns.start.length) {
    root.append(empty("Nothing was recorded in this iteration."));
    return;
  }
  const within = about.iterations.map((each, i) => ({ ...each, i })).filter(({ i }) => context.store.has(`timeline/${key}/${i}`));
  root.append(new Timeline(found, within, Number(iteration)).root);
}

class Timeline {
  constructor(found, within, iteration) {
    this.lanes = new Lanes(found);
    const { tops, height } = heights(this.lanes);
    this.tops = tops;
    this.height = Math.min(height, MOST_HEIGHT);
    this.view = { t0: this.lanes.first, t1: this.lanes.last, hits: null, selected: -1, hovered: -1 };
    this.hits = [];
    this.canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": `Timeline of ${found.name}. ${HELP}` });
    this.tip = el("div", { class: "tip", hidden: true });
    this.detail = el("div", { class: "detail", role: "status" });
    this.scroll = el("div", { class: "lanes" }, this.canvas);
    this.tally = el("span", { class: "dim", role: "status" });
    this.search = el("input", { type: "search", placeholder: "Search names", "aria-label": "Search names" });
    this.root = el("div", { class: "timeline", data: { events: this.lanes.count, lanes: this.lanes.lanes.length } },
      this.#tools(found, within, iteration), this.scroll, this.tip, this.detail, el("p", { class: "dim help", text: HELP }));
    this.#listen();
    this.#describe();
    new ResizeObserver(() => this.#resize()).observe(this.scroll);
  }

  #tools(found, within, iteration) {
    const button = (text, label, act) => el("button", { type: "button", class: "quiet", text, "aria-label": label, title: label, on: { click: act } });
    const iterations = within.map((each) => [each.i, `${each.name} · ${ns(each.dur_ns)}`]);
    return el("div", { class: "tools" },
      iterations.length ? choice("Iteration", iterations, iteration, (i) => go({ iteration: i })) : null,
      this.search, this.tally,
      button("+", "Zoom in", () => this.#zoom(0.5)), button("−", "Zoom out", () => this.#zoom(2)), button("All", "See all", () => this.#all()),
      el("span", { class: "legend" }, ...this.#legend()),
      el("span", { class: "dim", text: `${counted(this.lanes.count, "event")}${found.left_out ? `; the ${count(found.left_out)} shortest are left out to keep this file small` : ""}` }));
  }

  #legend() {
    const seen = new Set(this.lanes.kind);
    return this.lanes.kinds.flatMap((kind, i) => (seen.has(i) ? [el("span", {}, el("i", { class: `swatch ${kind.replace(" ", "-")}` }), el("span", { text: kind }))] : []));
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
    this.scroll.addEventListener("scroll", () => this.#later());
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
    const told = this.lanes.told(i);
    const lines = [`${this.lanes.kindOf(i)} · ${ns(this.lanes.dur[i])}`, ...(told ? [told.join(" ")] : [])];
    this.tip.replaceChildren(el("strong", { text: this.lanes.nameOf(i) }), ...lines.map((text) => el("span", { text })));
    const edge = this.root.getBoundingClientRect();
    this.tip.style.left = `${Math.max(0, Math.min(event.clientX - edge.left + 12, edge.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${event.clientY - edge.top + 14}px`;
  }

  // The event under the pointer, -1 for none: the line to what it launched, or from what launched it, is drawn for it
  #point(i) {
    this.tip.hidden = i < 0;
    if (i === this.view.hovered) return;
    const drawn = this.lanes.link(i) || this.lanes.link(this.view.hovered);
    this.view.hovered = i;
    if (drawn) this.#later();
  }

  #select(i) {
    this.view.selected = i;
    this.root.dataset.selected = i < 0 ? "" : this.lanes.nameOf(i);
    this.#describe();
    this.#later();
  }

  #describe() {
    const { lanes, view: { selected: i } } = this;
    if (i < 0) {
      this.detail.replaceChildren(el("span", { class: "dim", text: "Click an event to see what it is, what it is in, and what it launched." }));
      return;
    }
    const lines = [["kind", `${lanes.kindOf(i)} on ${lanes.lanes[lanes.lane[i]].name}`], ["starts", ns(lanes.start[i])], ["lasts", ns(lanes.dur[i])]];
    const told = lanes.told(i);
    if (told) lines.push(told);
    const chain = lanes.around(i).filter((each) => lanes.kindOf(each) !== "call");
    if (chain.length) lines.push(["in", chain.map((each) => lanes.nameOf(each)).join(" ‹ ")]);
    this.detail.replaceChildren(el("strong", { text: lanes.nameOf(i) }),
      el("dl", {}, ...lines.flatMap(([what, text]) => [el("dt", { text: what }), el("dd", { text })])));
  }

  #key(event) {
    if (event.target === this.search) {
      if (event.key === "Enter") this.#next();
      return;
    }
    if (event.target !== this.canvas && !(event.key === "/")) return;
    const wide = this.view.t1 - this.view.t0;
    const acts = {
      "+": () => this.#zoom(0.5), "=": () => this.#zoom(0.5), w: () => this.#zoom(0.5),
      "-": () => this.#zoom(2), s: () => this.#zoom(2), 0: () => this.#all(),
      ArrowLeft: () => this.#show(this.view.t0 - wide / 5, this.view.t1 - wide / 5), a: () => this.#show(this.view.t0 - wide / 5, this.view.t1 - wide / 5),
      ArrowRight: () => this.#show(this.view.t0 + wide / 5, this.view.t1 + wide / 5), d: () => this.#show(this.view.t0 + wide / 5, this.view.t1 + wide / 5),
      n: () => this.#next(), "/": () => this.search.focus(), Escape: () => this.#select(-1),
    };
    const act = acts[event.key];
    if (!act || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    act();
  }

  #zoom(by, around = (this.view.t0 + this.view.t1) / 2) {
    this.#show(around - (around - this.view.t0) * by, around + (this.view.t1 - around) * by);
  }

  #all() {
    this.#show(this.lanes.first, this.lanes.last);
  }

  #show(t0, t1) {
    const whole = this.lanes.last - this.lanes.first;
    const wide = Math.min(whole, Math.max(CLOSEST_NS, t1 - t0));
    const from = Math.min(Math.max(t0, this.lanes.first), this.lanes.last - wide);
    Object.assign(this.view, { t0: from, t1: from + wide });
    this.#later();
  }

  #focus(i) {
    if (i < 0) return;
    const room = Math.max(CLOSEST_NS, this.lanes.dur[i]);
    this.#show(this.lanes.start[i] - room, this.lanes.start[i] + this.lanes.dur[i] + room);
    this.#select(i);
  }

  #find() {
    const text = this.search.value;
    const { hits, found } = text ? this.lanes.matching(text) : { hits: null, found: [] };
    this.view.hits = hits;
    this.hits = found;
    this.tally.textContent = text ? counted(found.length, "hit") : "";
    this.#later();
  }

  #next() {
    if (!this.hits.length) return;
    const at = this.hits.indexOf(this.view.selected);
    const i = this.hits[(at + 1) % this.hits.length];
    this.#focus(i);
    const y = this.tops[this.lanes.lane[i]] + this.lanes.row[i] * ROW;
    if (y < this.scroll.scrollTop + AXIS || y > this.scroll.scrollTop + this.scroll.clientHeight - 2 * ROW) this.scroll.scrollTop = y - 3 * ROW;
  }

  #resize() {
    this.width = this.scroll.clientWidth;
    if (!this.width) return;
    const fine = devicePixelRatio || 1;
    this.canvas.width = this.width * fine;
    this.canvas.height = this.height * fine;
    this.canvas.style.height = `${this.height}px`;
    this.pen = this.canvas.getContext("2d");
    this.pen.scale(fine, fine);
    this.paint = colours(this.lanes);
    this.#draw();
  }

  #later() {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = null;
      this.#draw();
    });
  }

  #draw() {
    if (!this.pen) return;
    const top = this.scroll.scrollTop;
    const view = { ...this.view, width: this.width, top, bottom: top + this.scroll.clientHeight };
    this.root.dataset.drawn = paint(this.pen, this.lanes, this.tops, view, this.paint);
    this.root.dataset.links = [view.selected, view.hovered].filter((i) => this.lanes.link(i)).length;
    this.root.dataset.window = `${Math.round(view.t0)} ${Math.round(view.t1)}`;
  }
}
