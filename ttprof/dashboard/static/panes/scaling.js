// A metric over sizes: the points, the fitted law, the rejected laws in grey, and the crossover between terms.
import { axis, logAxis, plain, plot } from "../charts.js";
import { badge, el, facts, section } from "../dom.js";
import { explainMissing, hasScaling } from "../availability.js";
import { fixed, percent, significant, withUnit } from "../format.js";
import { current, go } from "../state.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

export async function draw(root, context) {
  if (!hasScaling(context.case)) {
    explainMissing(root, context, "This case has no scaling: it was not swept with .expect_scaling(...).", hasScaling);
    return;
  }
  const scaling = await context.store(`scaling/${context.row.id}/${context.case.index}`);
  const log = current().scale !== "linear";
  const chart = el("div", { class: "chart tall" });
  const checkbox = el("input", { type: "checkbox", checked: log });
  checkbox.addEventListener("change", () => go({ scale: checkbox.checked ? null : "linear" }));
  root.append(
    el("div", { class: "verdicts" }, el("li", {}, scaling.status ? badge(scaling.status) : null, el("p", { text: scaling.reason }))),
    facts([
      ["exponent", fixed(scaling.exponent)],
      ["95 % interval", scaling.interval.map(fixed).join(" … ")],
      ["constant share", percent(scaling.overhead)],
      ["quadratic share", percent(scaling.quadratic)],
      ["expected law", scaling.law],
      ["crossover to quadratic", scaling.crossover === null ? null : `${scaling.axis} ${significant(scaling.crossover)}`],
      ["polynomial", scaling.polynomial && polynomial(scaling)],
      ["threads", scaling.threads || null],
    ]),
    section(`${scaling.metric} over ${scaling.axis}`, el("div", { class: "tools" }, el("label", {}, checkbox, el("span", { text: " log-log" }))), chart),
    section("Points", points(scaling)));
  if (scaling.notes.length) root.append(section("Notes", el("ul", {}, ...scaling.notes.map((text) => el("li", { text })))));
  if (scaling.curves.length > 1) root.append(section("Laws", laws(scaling)));
  chart.dataset.curves = scaling.curves.length;
  await plot(chart, () => figure(scaling, log));
}

function figure(scaling, log) {
  const sizes = scaling.points.map((point) => point.size);
  const curves = scaling.curves.map((curve) => ({
    type: "scatter", mode: "lines", name: plain(curve.chosen ? `${curve.name} (fitted)` : curve.name), x: curve.sizes, y: curve.values,
    line: { color: curve.chosen ? colour("accent") : colour("dim"), width: curve.chosen ? 2 : 1, dash: curve.chosen ? "solid" : "dot" },
    opacity: curve.chosen ? 1 : 0.55, hoverinfo: "name",
  }));
  const bars = scaling.points.map((point) => (point.median === null ? 0 : Math.max(0, point.median - point.value)));
  const points = {
    type: "scatter", mode: "markers", name: "minimum of the rounds (bar: up to the median)", x: scaling.points.map((point) => point.size), y: scaling.points.map((point) => point.value),
    error_y: { type: "data", symmetric: false, array: bars, arrayminus: bars.map(() => 0), color: colour("data"), thickness: 1.5, width: 4, visible: bars.some((bar) => bar > 0) },
    marker: { size: 8, color: colour("data") }, hovertemplate: `${plain(scaling.axis)} %{x}<br>%{y} ${plain(scaling.unit)}<extra></extra>`,
  };
  const crossoverVisible = scaling.crossover !== null && scaling.crossover >= sizes[0] && scaling.crossover <= sizes.at(-1);
  const shapes = !crossoverVisible ? [] : [{ type: "line", x0: scaling.crossover, x1: scaling.crossover, yref: "paper", y0: 0, y1: 1, line: { color: colour("mark"), width: 1, dash: "dash" } }];
  const annotations = !crossoverVisible ? [] : [{ x: log ? Math.log10(scaling.crossover) : scaling.crossover, y: 1, yref: "paper", text: "crossover", showarrow: false, xanchor: "left", font: { color: colour("mark") } }];
  const type = log ? "log" : "linear";
  const title = plain(scaling.unit ? `${scaling.metric} (${scaling.unit})` : scaling.metric);
  const values = scaling.points.flatMap((point) => [point.value, point.median ?? point.value]).filter((value) => value > 0);
  const y = log && values.length ? logAxis(title, Math.min(...values), Math.max(...values)) : axis(title, { type, rangemode: "tozero" });
  return [[...curves, points], { xaxis: axis(plain(scaling.axis), { type, tickvals: sizes, ticktext: sizes.map(String) }), yaxis: y, shapes, annotations }];
}

function polynomial(scaling) {
  const terms = scaling.polynomial.map((c, power) => [c, power]).filter(([c]) => c !== 0).reverse();
  return terms.map(([c, power]) => `${significant(c)}${power ? ` ${scaling.axis}${power > 1 ? `^${power}` : ""}` : ""}`).join(" + ").replaceAll("+ -", "- ") || "0";
}

function points(scaling) {
  return table([
    { title: scaling.axis, numeric: true, value: (point) => point.size },
    { title: "minimum", numeric: true, value: (point) => point.value, show: (point) => withUnit(point.value, scaling.unit) },
    { title: "median", numeric: true, value: (point) => point.median, show: (point) => withUnit(point.median, scaling.unit) },
  ], scaling.points, { sort: 0, name: "points", narrow: true });
}

function laws(scaling) {
  return table([
    { title: "law", value: (curve) => curve.name },
    { title: "fit", wide: true, value: (curve) => curve.quality },
    { title: "result", value: (curve) => curve.chosen, show: (curve) => (curve.chosen ? "fitted" : "rejected") },
  ], scaling.curves, { name: "laws", narrow: true });
}
