// One case: its verdicts with their reasons, its metrics, and the samples in order and as a distribution.
import { axis, plot } from "../charts.js";
import { badge, choice, el, empty, facts, section } from "../dom.js";
import { percent, plural, significant, withUnit } from "../format.js";
import { name } from "../names.js";
import { current, go } from "../state.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

const MAX_OPEN = 4; // up to this many passed verdicts are unfolded by default

export async function draw(root, context) {
  const result = await context.store(`case/${context.row.id}/${context.case.index}`);
  const trial = result.trials[context.trial];
  root.append(el("h1", {}, name(result.name || "(unnamed)", 200)),
    el("p", { class: "dim", text: [result.type, result.source].filter(Boolean).join(" · ") }));
  root.append(section("Verdicts", verdicts(result)));
  if (!trial) {
    root.append(empty("Nothing was measured."));
    return;
  }
  root.append(settings(trial));
  if (trial.numerics) root.append(numerics(trial.numerics));
  if (trial.least) root.append(speedOfLight(trial.least));
  if (trial.machine.length) root.append(section("Machine (during the timing)", facts(trial.machine)));
  if (trial.notes.length) root.append(section("Notes", el("ul", {}, ...trial.notes.map((text) => el("li", { text })))));
  root.append(section(trial.label ? `Measured at ${trial.label}` : "Measured", measurements(trial.measurements, "measured")));
  const charts = samples(root, trial);
  if (trial.reference.length) root.append(section("Reference (timed alternately with the module)", measurements(trial.reference, "reference")));
  if (trial.shares.length) root.append(section("Largest shares of the recorded time", shares(trial.shares)));
  await charts;
}

function verdicts(result) {
  if (!result.verdicts.length) return empty("This case has no expectations; its metrics are for information only.");
  const passed = result.verdicts.filter((verdict) => verdict.status === "PASS");
  const notPassed = result.verdicts.filter((verdict) => verdict.status !== "PASS");
  return el("div", {}, verdictList(notPassed), el("details", { class: "passed", open: passed.length <= MAX_OPEN, hidden: !passed.length },
    el("summary", { text: `${passed.length} passed` }), verdictList(passed)));
}

function verdictList(verdicts) {
  return el("ul", { class: "verdicts" }, ...verdicts.map((verdict) => {
    const point = Object.entries(verdict.point).map(([axis, size]) => `${axis}=${size}`).join(",");
    return el("li", {}, badge(verdict.status),
      el("div", {}, el("strong", { text: [verdict.expectation, point].filter(Boolean).join(" · ") }), el("p", { text: verdict.reason })));
  }));
}

function settings(trial) {
  return facts([
    ["inputs", trial.inputs],
    ["input source", trial.inputs_source],
    ["warm-up", `${trial.warmup}${trial.steady ? "" : " (not steady)"}`],
    ["timed iterations", trial.stopped ? `${trial.iterations} (${trial.stopped})` : trial.iterations],
    ["interleaved with", trial.interleaved > 1 ? plural(trial.interleaved - 1, "other workload") : null],
    ["recorded iterations", trial.recorded],
    ["threads", trial.threads],
  ]);
}

function numerics(errors) {
  const element = section("Numerics",
    el("div", { class: "verdict" }, errors.status ? badge(errors.status) : null, el("span", { text: errors.expected.join(", ") || "no expectation, for information only" })),
    facts([
      ["relative error", `${significant(errors.rel_error)}${errors.limit === null ? "" : ` (limit ${significant(errors.limit)})`}`],
      ["largest error", significant(errors.max_error)],
      ["PCC", significant(errors.pcc)],
      ["ULP distance", errors.ulp_error === null ? null : significant(errors.ulp_error)],
      ["against", errors.worst && errors.worst.reference],
    ]));
  element.append(!errors.worst ? el("p", { class: "dim", text: "The worst element was not recorded." }) : table([
    { title: "worst element", value: (worst) => worst.element, show: (worst) => name(worst.element) },
    { title: "output", numeric: true, value: (worst) => worst.value },
    { title: "reference", numeric: true, value: (worst) => worst.expected },
  ], [errors.worst], { name: "worst element", narrow: true }));
  return element;
}

function speedOfLight(least) {
  const peaks = [...least.peaks, `memory ${significant(least.bandwidth)} GB/s`].join(", ");
  return section("Speed of light", facts([
    ["least time", `${withUnit(least.ms, "ms")}, bound by ${least.bound}`],
    ["share of the latency", least.sol === null ? "not believed: it is more than all of it" : percent(least.sol)],
    ["compute", withUnit(least.compute_ms, "ms")],
    ["memory", `${withUnit(least.memory_ms, "ms")} for ${withUnit(least.mb, "MB")} beyond the cache`],
    ["peaks", `${peaks} (${least.measured ? "measured" : "from the table of devices"})`],
  ]));
}

function measurements(rows, title) {
  if (!rows.length) return empty("Nothing was measured.");
  const quantile = (field) => ({ title: field, numeric: true, value: (m) => m.spread && m.spread[field], show: (m) => (m.spread ? significant(m.spread[field]) : "·") });
  return table([
    { title: "metric", value: (m) => m.name },
    { title: "value", numeric: true, value: (m) => m.value, show: (m) => withUnit(m.value, m.unit) },
    { title: "95 % bounds", numeric: true, tip: "one-sided bootstrap bounds of the statistic", value: (m) => m.interval && m.interval[0], show: (m) => (m.interval ? m.interval.map(significant).join(" … ") : "·") },
    { title: "statistic", value: (m) => m.statistic },
    ...["min", "p10", "median", "p90", "p99", "max"].map(quantile),
    { title: "samples", numeric: true, value: (m) => m.count },
    { title: "better", value: (m) => m.better },
  ], rows, { name: title });
}

async function samples(root, trial) {
  const sampled = trial.measurements.filter((m) => m.samples.length > 1);
  if (!sampled.length) return;
  const named = (metric) => sampled.find((candidate) => candidate.name === metric);
  const m = named(current().metric) || named("latency_ms") || sampled[0];
  const order = el("div", { class: "chart" });
  const distribution = el("div", { class: "chart" });
  root.append(section("Samples",
    el("div", { class: "tools" }, choice("Metric", sampled.map(({ name: metric }) => [metric, metric]), m.name, (metric) => go({ metric })),
      el("span", { class: "dim", text: m.samples.length < m.count ? `${m.samples.length} of ${m.count} samples shown` : `${m.count} samples` })),
    el("div", { class: "pair" }, figure("In order (shows drift and warm-up)", order), figure("Distribution", distribution))));
  const title = m.unit ? `${m.name} (${m.unit})` : m.name;
  const valueLine = (at) => ({ type: "line", xref: at === "x" ? "x" : "paper", yref: at === "x" ? "paper" : "y", line: { color: colour("accent"), width: 1, dash: "dot" },
    ...(at === "x" ? { x0: m.value, x1: m.value, y0: 0, y1: 1 } : { x0: 0, x1: 1, y0: m.value, y1: m.value }) });
  const first = plot(order, () => [[{ type: "scatter", mode: "markers", y: m.samples, x: m.samples.map((_, i) => i + 1), marker: { size: 5, color: colour("data") }, hovertemplate: "iteration %{x}<br>%{y}<extra></extra>" }],
    { xaxis: axis("iteration"), yaxis: axis(title), shapes: [valueLine("y")] }]);
  const second = plot(distribution, () => [[{ type: "histogram", x: m.samples, nbinsx: 40, marker: { color: colour("data") }, hovertemplate: "%{x}<br>%{y} samples<extra></extra>" }],
    { xaxis: axis(title), yaxis: axis("samples"), shapes: [valueLine("x")], bargap: 0.04 }]);
  await Promise.all([first, second]);
}

function figure(caption, chart) {
  return el("figure", {}, el("figcaption", { text: caption }), chart);
}

function shares(rows) {
  return el("ul", { class: "shares" }, ...rows.map(([label, share]) =>
    el("li", {}, el("span", { class: "bar", style: `width:${(100 * share).toFixed(1)}%` }), el("span", { text: percent(share) }), name(label))));
}
