// Draws the timeline on a canvas: visible rows only, and events narrower than a pixel merged into one.
import { colour } from "./theme.js";

export const ROW = 16;
export const LANE_HEAD = 18;
export const LANE_GAP = 6;
export const AXIS = 22;
const CHARACTER_WIDTH = 6.6;
const KIND_COLOURS = {
  module: "module", annotation: "annotation", op: "op", "backward op": "backward",
  call: "call", kernel: "kernel", memcpy: "memcpy", memset: "memset",
};

// The y position of the top of each lane, and the total height
export function layOut(lanes) {
  const tops = [];
  let y = AXIS;
  for (const lane of lanes.lanes) {
    tops.push(y);
    y += LANE_HEAD + lane.rows * ROW + LANE_GAP;
  }
  return { tops, height: y };
}

export function currentPalette(lanes) {
  return {
    kinds: lanes.kinds.map((kind) => colour(KIND_COLOURS[kind])),
    dim: colour("dim"), line: colour("line"), on: colour("on-data"), page: colour("page"), mark: colour("mark"), band: colour("raised"),
  };
}

// view: {t0, t1, top, bottom, width, matches, selected, hovered}
export function paint(pen, lanes, tops, view, palette) {
  const scale = view.width / (view.t1 - view.t0);
  pen.clearRect(0, view.top, view.width, view.bottom - view.top);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  lanes.lanes.forEach((lane, i) => {
    pen.fillStyle = palette.band;
    pen.fillRect(0, tops[i], view.width, LANE_HEAD);
    pen.fillStyle = palette.dim;
    pen.fillText(lane.name, 6, tops[i] + LANE_HEAD / 2);
  });
  grid(pen, view, scale, palette);
  let drawn = 0;
  for (const row of lanes.rows) {
    const y = rowTop(tops, row);
    if (y + ROW >= view.top && y <= view.bottom) drawn += paintRow(pen, lanes, row, y, view, scale, palette);
  }
  for (const i of new Set([view.selected, view.hovered])) arrow(pen, lanes, tops, view, lanes.link(i), palette);
  axis(pen, view, scale, palette);
  return drawn;
}

export function rowTop(tops, row) {
  return tops[row.lane] + LANE_HEAD + row.row * ROW;
}

function paintRow(pen, lanes, row, y, view, scale, palette) {
  let drawn = 0;
  for (let i = lanes.after(row, view.t0); i < row.to && lanes.start[i] < view.t1; ) {
    const left = Math.max(0, (lanes.start[i] - view.t0) * scale);
    const right = Math.min(view.width, (lanes.start[i] + lanes.dur[i] - view.t0) * scale);
    const width = right - left;
    const faint = view.matches && !view.matches[lanes.name[i]];
    pen.globalAlpha = faint ? 0.25 : 1;
    pen.fillStyle = palette.kinds[lanes.kind[i]];
    drawn++;
    if (width < 1) {
      pen.fillRect(Math.floor(left), y, 1, ROW - 2);
      i = Math.max(i + 1, view.matches ? i + 1 : lanes.after(row, view.t0 + (Math.floor(left) + 1) / scale, i));
      continue;
    }
    pen.fillRect(left, y, Math.max(1, width - 0.5), ROW - 2);
    if (i === view.selected) outline(pen, left, y, width, palette);
    const characters = Math.floor((width - 6) / CHARACTER_WIDTH);
    if (characters >= 3) {
      const text = lanes.labelOf(i);
      pen.fillStyle = palette.on;
      pen.fillText(text.length <= characters ? text : `${text.slice(0, characters - 1)}…`, left + 3, y + ROW / 2 - 1);
    }
    i++;
  }
  pen.globalAlpha = 1;
  return drawn;
}

function outline(pen, left, y, width, palette) {
  pen.strokeStyle = palette.mark;
  pen.lineWidth = 2;
  pen.strokeRect(left + 1, y, Math.max(2, width - 2), ROW - 2);
}

// An arrow from a call to the device work that it launched
function arrow(pen, lanes, tops, view, link, palette) {
  if (!link) return;
  const scale = view.width / (view.t1 - view.t0);
  const centre = (event) => [(lanes.start[event] - view.t0) * scale, tops[lanes.lane[event]] + LANE_HEAD + lanes.row[event] * ROW + ROW / 2 - 1];
  const [x0, y0] = centre(link.call);
  const [x1, y1] = centre(link.work);
  pen.strokeStyle = palette.mark;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.bezierCurveTo(x0 + 30, y0, x1 - 30, y1, x1, y1);
  pen.stroke();
  pen.beginPath();
  pen.arc(x1, y1, 3, 0, 7);
  pen.fillStyle = palette.mark;
  pen.fill();
}

function axis(pen, view, scale, palette) {
  pen.fillStyle = palette.page;
  pen.fillRect(0, view.top, view.width, AXIS);
  pen.fillStyle = palette.dim;
  for (const { t, x, step } of ticks(view, scale)) pen.fillText(tickLabel(t, step, view), x + 4, view.top + AXIS / 2);
}

function grid(pen, view, scale, palette) {
  pen.fillStyle = palette.line;
  for (const { x } of ticks(view, scale)) pen.fillRect(x, view.top, 1, view.bottom - view.top);
}

function ticks(view, scale) {
  const marks = [];
  const step = niceStep((view.t1 - view.t0) / Math.max(2, view.width / 120));
  for (let t = Math.ceil(view.t0 / step) * step; t < view.t1; t += step) marks.push({ t, step, x: Math.round((t - view.t0) * scale) });
  return marks;
}

function tickLabel(t, step, view) {
  for (const [symbol, scale] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (view.t1 >= scale) return `${(t / scale).toFixed(Math.max(0, -Math.floor(Math.log10(step / scale))))} ${symbol}`;
  }
  return `${Math.round(t)} ns`;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) || 10 * power;
}
