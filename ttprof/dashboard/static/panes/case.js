// One case: why it ended as it did, what was measured, and the samples as a distribution and in order.
import { axis, plot } from "../charts.js";
import { badge, choice, el, empty, facts, section } from "../dom.js";
import { percent, significant, withUnit } from "../format.js";
import { name } from "../names.js";
import { current, go } from "../state.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

const FEW = 4; // so many verdicts that passed are shown unasked

export async function draw(root, context) {
  const found = await context.store(`case/${context.row.id}/${context.case.index}`);
  const trial = found.trials[context.trial];
  root.append(el("h1", {}, name(found.name || "(unnamed)", 200)),
    el("p", { class: "dim", text: [found.type, found.source].filter(Boolean).join(" · ") }));
  root.append(section("Verdicts", verdicts(found)));
  if (!trial) {
    root.append(empty("Nothing was measured."));
    return;
  }
  root.append(about(trial));
  if (trial.numerics) root.append(numerics(trial.numerics));
  if (trial.notes.length) root.append(section("Notes", el("ul", {}, ...trial.notes.map((text) => el("li", { text })))));
  root.append(section(trial.label ? `Measured at ${trial.label}` : "Measured", measurements(trial.measurements, "measured")));
  const drawn = samples(root, trial);
  if (trial.reference.length) root.append(section("The reference, measured beside it", measurements(trial.reference, "reference")));
  if (trial.shares.length) root.append(section("Most of the recorded time", shares(trial.shares)));
  await drawn;
}

function verdicts(found) {
  if (!found.verdicts.length) return empty("Nothing was expected of this case; its metrics are shown only.");
  const passed = found.verdicts.filter((verdict) => verdict.status === "PASS");
  const others = found.verdicts.filter((verdict) => verdict.status !== "PASS");
  return el("div", {}, sentences(others), el("details", { class: "passed", open: passed.length <= FEW, hidden: !passed.length },
    el("summary", { text: `${passed.length} passed` }), sentences(passed)));
}

function sentences(verdicts) {
  return el("ul", { class: "verdicts" }, ...verdicts.map((verdict) => {
    const point = Object.entries(verdict.point).map(([axis, size]) => `${axis}=${size}`).join(",");
    return el("li", {}, badge(verdict.status),
      el("div", {}, el("strong", { text: [verdict.expectation, point].filter(Boolean).join(" · ") }), el("p", { text: verdict.reason })));
  }));
}

function about(trial) {
  return facts([
    ["inputs", trial.inputs],
    ["from", trial.inputs_source],
    ["warm-up", `${trial.warmup}${trial.steady ? "" : " (not steady)"}`],
    ["timed iterations", trial.stopped ? `${trial.iterations}: ${trial.stopped}` : trial.iterations],
    ["interleaved with", trial.interleaved > 1 ? `${trial.interleaved - 1} other workloads` : null],
    ["recorded iterations", trial.recorded],
    ["threads", trial.threads],
  ]);
}

function numerics(found) {
  const place = section("Numerics",
    el("div", { class: "judged" }, found.status ? badge(found.status) : null, el("span", { text: found.expected.join(", ") || "shown only, nothing was expected of it" })),
    facts([
      ["relative error", `${significant(found.rel_error)}${found.allowed === null ? "" : ` (allowed ${significant(found.allowed)})`}`],
      ["largest error", significant(found.max_error)],
      ["PCC", significant(found.pcc)],
      ["ULP distance", found.ulp_error === null ? null : significant(found.ulp_error)],
      ["against", found.worst && found.worst.reference],
    ]));
  place.append(!found.worst ? el("p", { class: "dim", text: "Which element is furthest off was not kept." }) : table([
    { title: "furthest element", value: (worst) => worst.element, show: (worst) => name(worst.element) },
    { title: "is", numeric: true, value: (worst) => worst.value },
    { title: "the reference has", numeric: true, value: (worst) => worst.expected },
  ], [found.worst], { name: "furthest element", narrow: true }));
  return place;
}

function measurements(found, title) {
  if (!found.length) return empty("Nothing was measured.");
  const of = (what) => ({ title: what, numeric: true, value: (m) => m.spread && m.spread[what], show: (m) => (m.spread ? significant(m.spread[what]) : "·") });
  return table([
    { title: "metric", value: (m) => m.name },
    { title: "value", numeric: true, value: (m) => m.value, show: (m) => withUnit(m.value, m.unit) },
    { title: "95 % bounds", numeric: true, tip: "one-sided bounds of the statistic, by the bootstrap", value: (m) => m.interval && m.interval[0], show: (m) => (m.interval ? m.interval.map(significant).join(" … ") : "·") },
    { title: "statistic", value: (m) => m.statistic },
    ...["min", "p10", "median", "p90", "p99", "max"].map(of),
    { title: "samples", numeric: true, value: (m) => m.count },
    { title: "better", value: (m) => m.better },
  ], found, { name: title });
}

async function samples(root, trial) {
  const sampled = trial.measurements.filter((m) => m.samples.length > 1);
  if (!sampled.length) return;
  const wanted = current().metric;
  const m = sampled.find((each) => each.name === wanted) || sampled.find((each) => each.name === "latency_ms") || sampled[0];
  const order = el("div", { class: "chart" });
  const spread = el("div", { class: "chart" });
  root.append(section("Samples",
    el("div", { class: "tools" }, choice("Metric", sampled.map((each) => [each.name, each.name]), m.name, (metric) => go({ metric })),
      el("span", { class: "dim", text: m.samples.length < m.count ? `${m.samples.length} of ${m.count} samples are drawn` : `${m.count} samples` })),
    el("div", { class: "pair" }, figure("In order: drift and warm-up show here", order), figure("Distribution", spread))));
  const title = m.unit ? `${m.name} (${m.unit})` : m.name;
  const line = (at) => ({ type: "line", xref: at === "x" ? "x" : "paper", yref: at === "x" ? "paper" : "y", line: { color: colour("accent"), width: 1, dash: "dot" },
    ...(at === "x" ? { x0: m.value, x1: m.value, y0: 0, y1: 1 } : { x0: 0, x1: 1, y0: m.value, y1: m.value }) });
  const first = plot(order, () => [[{ type: "scatter", mode: "markers", y: m.samples, x: m.samples.map((_, i) => i + 1), marker: { size: 5, color: colour("data") }, hovertemplate: "iteration %{x}<br>%{y}<extra></extra>" }],
    { xaxis: axis("iteration"), yaxis: axis(title), shapes: [line("y")] }]);
  const second = plot(spread, () => [[{ type: "histogram", x: m.samples, nbinsx: 40, marker: { color: colour("data") }, hovertemplate: "%{x}<br>%{y} samples<extra></extra>" }],
    { xaxis: axis(title), yaxis: axis("samples"), shapes: [line("x")], bargap: 0.04 }]);
  await Promise.all([first, second]);
}

function figure(caption, chart) {
  return el("figure", {}, el("figcaption", { text: caption }), chart);
}

function shares(found) {
  return el("ul", { class: "shares" }, ...found.map(([what, share]) =>
    el("li", {}, el("span", { class: "bar", style: `width:${(100 * share).toFixed(1)}%` }), el("span", { text: percent(share) }), name(what))));
}
