// A metric over sizes: the points, the fitted law, the rejected ones faint, and where one term overtakes another.
import { axis, logAxis, plain, plot } from "../charts.js";
import { badge, el, facts, section } from "../dom.js";
import { lacks, swept } from "../elsewhere.js";
import { fixed, percent, significant, withUnit } from "../format.js";
import { current, go } from "../state.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

export async function draw(root, context) {
  if (!swept(context.case)) {
    lacks(root, context, "This case was not swept over sizes with .expect_scaling(...).", swept);
    return;
  }
  const found = await context.store(`scaling/${context.row.id}/${context.case.index}`);
  const log = current().scale !== "linear";
  const chart = el("div", { class: "chart tall" });
  const box = el("input", { type: "checkbox", checked: log });
  box.addEventListener("change", () => go({ scale: box.checked ? null : "linear" }));
  root.append(
    el("div", { class: "verdicts" }, el("li", {}, found.status ? badge(found.status) : null, el("p", { text: found.reason }))),
    facts([
      ["exponent", fixed(found.exponent)],
      ["95 % interval", found.interval.map(fixed).join(" … ")],
      ["does not grow", percent(found.overhead)],
      ["grows with the square", percent(found.quadratic)],
      ["expected", found.law],
      ["crossover to quadratic", found.crossover === null ? null : `${found.axis} ${significant(found.crossover)}`],
      ["polynomial", found.polynomial && polynomial(found)],
      ["threads", found.threads || null],
    ]),
    section(`${found.metric} over ${found.axis}`, el("div", { class: "tools" }, el("label", {}, box, el("span", { text: " log-log" }))), chart),
    section("Points", points(found)));
  if (found.notes.length) root.append(section("Measured beyond what was asked for", el("ul", {}, ...found.notes.map((text) => el("li", { text })))));
  if (found.curves.length > 1) root.append(section("Laws", laws(found)));
  chart.dataset.curves = found.curves.length;
  await plot(chart, () => picture(found, log));
}

function picture(found, log) {
  const sizes = found.points.map((point) => point.size);
  const curves = found.curves.map((curve) => ({
    type: "scatter", mode: "lines", name: plain(curve.chosen ? `${curve.name} (fitted)` : curve.name), x: curve.sizes, y: curve.values,
    line: { color: curve.chosen ? colour("accent") : colour("dim"), width: curve.chosen ? 2 : 1, dash: curve.chosen ? "solid" : "dot" },
    opacity: curve.chosen ? 1 : 0.55, hoverinfo: "name",
  }));
  const bars = found.points.map((point) => (point.median === null ? 0 : Math.max(0, point.median - point.value)));
  const points = {
    type: "scatter", mode: "markers", name: "minimum of the rounds, bar up to their median", x: found.points.map((point) => point.size), y: found.points.map((point) => point.value),
    error_y: { type: "data", symmetric: false, array: bars, arrayminus: bars.map(() => 0), color: colour("data"), thickness: 1.5, width: 4, visible: bars.some((bar) => bar > 0) },
    marker: { size: 8, color: colour("data") }, hovertemplate: `${plain(found.axis)} %{x}<br>%{y} ${plain(found.unit)}<extra></extra>`,
  };
  const shown = found.crossover !== null && found.crossover >= sizes[0] && found.crossover <= sizes.at(-1);
  const shapes = !shown ? [] : [{ type: "line", x0: found.crossover, x1: found.crossover, yref: "paper", y0: 0, y1: 1, line: { color: colour("mark"), width: 1, dash: "dash" } }];
  const annotations = !shown ? [] : [{ x: log ? Math.log10(found.crossover) : found.crossover, y: 1, yref: "paper", text: "crossover", showarrow: false, xanchor: "left", font: { color: colour("mark") } }];
  const type = log ? "log" : "linear";
  const title = plain(found.unit ? `${found.metric} (${found.unit})` : found.metric);
  const values = found.points.flatMap((point) => [point.value, point.median ?? point.value]).filter((value) => value > 0);
  const y = log && values.length ? logAxis(title, Math.min(...values), Math.max(...values)) : axis(title, { type, rangemode: "tozero" });
  return [[...curves, points], { xaxis: axis(plain(found.axis), { type, tickvals: sizes, ticktext: sizes.map(String) }), yaxis: y, shapes, annotations }];
}

function polynomial(found) {
  const terms = found.polynomial.map((c, power) => [c, power]).filter(([c]) => c !== 0).reverse();
  return terms.map(([c, power]) => `${significant(c)}${power ? ` ${found.axis}${power > 1 ? `^${power}` : ""}` : ""}`).join(" + ").replaceAll("+ -", "- ") || "0";
}

function points(found) {
  return table([
    { title: found.axis, numeric: true, value: (point) => point.size },
    { title: "minimum", numeric: true, value: (point) => point.value, show: (point) => withUnit(point.value, found.unit) },
    { title: "median", numeric: true, value: (point) => point.median, show: (point) => withUnit(point.median, found.unit) },
  ], found.points, { sort: 0, name: "points", narrow: true });
}

function laws(found) {
  return table([
    { title: "law", value: (curve) => curve.name },
    { title: "fit", wide: true, value: (curve) => curve.quality },
    { title: "", value: (curve) => curve.chosen, show: (curve) => (curve.chosen ? "fitted" : "rejected") },
  ], found.curves, { name: "laws", narrow: true });
}
