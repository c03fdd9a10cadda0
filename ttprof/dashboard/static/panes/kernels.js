// Time by kernel and by operator, with the backward listed separately, and by module.
import { plain, plot, short } from "../charts.js";
import { el, empty, facts, section } from "../dom.js";
import { lacksTrace, notRecorded } from "../availability.js";
import { count, ns, percent, plural } from "../format.js";
import { name } from "../names.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

const TIMES = { kernels: "kernel", ops: "operator" };

export async function draw(root, context) {
  if (lacksTrace(root, context)) return;
  const trace = await context.store(`trace/${context.row.id}/${context.case.index}/${context.trial}`);
  for (const reason of trace.incomplete) root.append(el("p", { class: "problem", text: `The trace is incomplete: ${reason}` }));
  root.append(facts([
    ["devices", tallied(trace.devices) || (trace.forward.length ? "none (times are those of CPU operators)" : "none")],
    ["events", count(trace.events)],
    ["iterations", trace.iterations.length || "not marked"],
    ["outside modules", trace.unattributed.share === null ? null : `${percent(trace.unattributed.share)} of the ${TIMES[trace.measured]} time`],
  ]));
  const chart = treemap(root, trace);
  if (trace.kernels.length) root.append(filtered("Kernels", trace.kernels, kernels));
  else root.append(section("Kernels", empty("No kernels: this is a CPU trace.")));
  if (trace.forward.length || trace.backward.length) root.append(filtered(trace.backward.length ? "Operators, forward" : "Operators", trace.forward, ops));
  else root.append(section("Operators", notRecorded(context.row, "operators", "The trace has no operators.")));
  if (trace.backward.length) root.append(filtered("Operators, backward", trace.backward, ops));
  if (trace.modules.length) root.append(section("Modules", modules(trace)));
  await chart;
}

// ["A", "A", "B"] -> "2 × A, B"
function tallied(names) {
  return [...new Set(names)].map((unique) => {
    const n = names.filter((other) => other === unique).length;
    return n > 1 ? `${n} × ${unique}` : unique;
  }).join(", ");
}

async function treemap(root, trace) {
  if (!trace.treemap.ids.length) return;
  const chart = el("div", { class: "chart tall" });
  root.append(section(trace.measured === "kernels" ? "Kernel time by module, operator and kernel" : "Operator time by module and operator", chart,
    trace.treemap.left_out ? el("p", { class: "dim", text: `The ${trace.treemap.left_out} smallest blocks are drawn as one.` }) : null));
  await plot(chart, () => treemapTrace(trace.treemap));
}

function treemapTrace(nodes) {
  const shade = { phase: colour("annotation"), module: colour("module"), op: colour("op"), "backward op": colour("backward"), kernel: colour("kernel"), rest: colour("annotation") };
  const shades = nodes.levels.map((level) => shade[level]);
  return [[{
    type: "treemap",
    ids: nodes.ids,
    parents: nodes.parents,
    labels: nodes.labels.map((label) => plain(short(label))),
    values: nodes.values,
    text: nodes.values.map(ns),
    branchvalues: "total",
    maxdepth: 9,
    sort: true,
    marker: { colors: shades, line: { color: colour("page"), width: 1 }, pad: { t: 18, l: 2, r: 2, b: 2 } },
    textfont: { color: colour("on-data") },
    textinfo: "label+text+percent root",
    hovertemplate: "%{label}<br>%{text} · %{percentRoot:.1%} of all<extra></extra>",
    pathbar: { visible: true, thickness: 18 },
    tiling: { pad: 1 },
  }], { margin: { l: 0, r: 0, t: 22, b: 0 } }];
}

function filtered(title, rows, makeTable) {
  const list = el("div");
  const tally = el("span", { class: "dim" });
  const text = el("input", { type: "search", placeholder: "Filter names", "aria-label": `Filter ${title}`, on: { input: fill } });
  function fill() {
    const matches = rows.filter((row) => row.name.toLowerCase().includes(text.value.toLowerCase()));
    tally.textContent = matches.length === rows.length ? plural(rows.length, "name") : `${matches.length} of ${plural(rows.length, "name")}`;
    list.replaceChildren(matches.length ? makeTable(matches, title) : empty("No name matches."));
  }
  fill();
  return section(title, el("div", { class: "tools" }, text, tally), list);
}

function share(row) {
  return el("span", { class: "share" }, el("i", { style: `width:${(100 * row.share).toFixed(2)}%` }), el("span", { text: percent(row.share) }));
}

function time(title, field, tip) {
  return { title, tip, numeric: true, value: (row) => row[field], show: (row) => ns(row[field]) };
}

const NAME = { title: "name", wide: true, value: (row) => row.name, show: (row) => name(row.name) };
const CALLS = { title: "count", numeric: true, value: (row) => row.count, show: (row) => count(row.count) };
const SHARE = { title: "share", numeric: true, value: (row) => row.share, show: share };

function kernels(rows, title) {
  return table([NAME, CALLS, time("total", "time_ns"), time("mean", "mean_ns"), time("min", "min_ns"), time("max", "max_ns"), SHARE],
    rows, { sort: 2, descending: true, name: title });
}

function ops(rows, title) {
  return table([
    NAME, CALLS,
    time("total", "time_ns", "including the operators that it called"),
    time("self", "self_ns", "without the operators that it called"),
    time("mean", "mean_ns", "total time of one call"),
    { ...SHARE, tip: "of the self time of all operators" },
    { title: "kernels", numeric: true, value: (row) => row.kernel_count, show: (row) => count(row.kernel_count) },
    time("kernel time", "kernel_ns"),
  ], rows, { sort: 3, descending: true, name: title });
}

function modules(trace) {
  const indented = (row) => el("span", { class: "name", style: `padding-left:${12 * row.depth}px`, title: row.path, text: short(row.path || "(model)", 100) });
  const times = [
    time("forward", "forward_ns", "including its submodules"), time("self forward", "self_forward_ns"),
    time("backward", "backward_ns"), time("self backward", "self_backward_ns"),
    { title: "kernels", numeric: true, value: (row) => row.kernel_count, show: (row) => count(row.kernel_count) },
  ];
  return table([
    { title: "module", wide: true, value: (row) => row.path, show: indented },
    { title: "calls", numeric: true, value: (row) => row.calls, show: (row) => count(row.calls) },
    ...(trace.kernels.length || trace.forward.length ? times : []), // without either, modules have no time
    time("host", "host_ns", "host time of its forward calls"),
  ], trace.modules, { name: "modules" });
}
