// Where the time went: kernels and ops by name, the backward apart from the forward, and the tree of modules.
import { plain, plot, short } from "../charts.js";
import { el, empty, facts, section } from "../dom.js";
import { unrecorded, untraced } from "../elsewhere.js";
import { count, counted, ns, percent } from "../format.js";
import { name } from "../names.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

export async function draw(root, context) {
  if (untraced(root, context)) return;
  const found = await context.store(`trace/${context.row.id}/${context.case.index}/${context.trial}`);
  for (const reason of found.incomplete) root.append(el("p", { class: "problem", text: `The trace is not complete: ${reason}` }));
  root.append(facts([
    ["devices", tallied(found.devices) || (found.forward.length ? "none: the times are of CPU ops" : "none")],
    ["events", count(found.events)],
    ["iterations", found.iterations.length || "not marked"],
    ["in no module", found.unattributed.share === null ? null : `${percent(found.unattributed.share)} of the time of ${found.measured}`],
  ]));
  const drawn = tree(root, found);
  if (found.kernels.length) root.append(filtered("Kernels", found.kernels, kernels));
  else root.append(section("Kernels", empty("No kernel ran: the trace is of a CPU.")));
  if (found.forward.length || found.backward.length) root.append(filtered(found.backward.length ? "Operators, forward" : "Operators", found.forward, ops));
  else root.append(section("Operators", unrecorded(context.row, "operators", "The trace holds no operators.")));
  if (found.backward.length) root.append(filtered("Operators, backward", found.backward, ops));
  if (found.modules.length) root.append(section("Modules", modules(found)));
  await drawn;
}

// Eight times the same name is one name
function tallied(names) {
  return [...new Set(names)].map((each) => {
    const n = names.filter((other) => other === each).length;
    return n > 1 ? `${n} × ${each}` : each;
  }).join(", ");
}

async function tree(root, found) {
  if (!found.treemap.ids.length) return;
  const chart = el("div", { class: "chart tall" });
  root.append(section(`Time of ${found.measured}: module, then operator${found.measured === "kernels" ? ", then kernel" : ""}`, chart,
    found.treemap.left_out ? el("p", { class: "dim", text: `The ${found.treemap.left_out} smallest leaves are drawn as one.` }) : null));
  await plot(chart, () => picture(found.treemap));
}

function picture(treemap) {
  const shade = { phase: colour("annotation"), module: colour("module"), op: colour("op"), "backward op": colour("backward"), kernel: colour("kernel"), rest: colour("annotation") };
  const shades = treemap.levels.map((level) => shade[level]);
  return [[{
    type: "treemap",
    ids: treemap.ids,
    parents: treemap.parents,
    labels: treemap.labels.map((label) => plain(short(label))),
    values: treemap.values,
    text: treemap.values.map(ns),
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

function filtered(title, rows, make) {
  const place = el("div");
  const tally = el("span", { class: "dim" });
  const text = el("input", { type: "search", placeholder: "Filter names", "aria-label": `Filter ${title}`, on: { input: fill } });
  function fill() {
    const kept = rows.filter((row) => row.name.toLowerCase().includes(text.value.toLowerCase()));
    tally.textContent = kept.length === rows.length ? counted(rows.length, "name") : `${kept.length} of ${counted(rows.length, "name")}`;
    place.replaceChildren(kept.length ? make(kept, title) : empty("No name matches."));
  }
  fill();
  return section(title, el("div", { class: "tools" }, text, tally), place);
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
    time("total", "time_ns", "with the ops that it called"),
    time("self", "self_ns", "without the ops that it called"),
    time("mean", "mean_ns", "total time of one call"),
    { ...SHARE, tip: "of the self time of all ops" },
    { title: "kernels", numeric: true, value: (row) => row.kernel_count, show: (row) => count(row.kernel_count) },
    time("kernel time", "kernel_ns"),
  ], rows, { sort: 3, descending: true, name: title });
}

function modules(found) {
  const indented = (row) => el("span", { class: "name", style: `padding-left:${12 * row.depth}px`, title: row.path, text: short(row.path || "(model)", 100) });
  const spent = [
    time("forward", "forward_ns", "with the modules in it"), time("self forward", "self_forward_ns"),
    time("backward", "backward_ns"), time("self backward", "self_backward_ns"),
    { title: "kernels", numeric: true, value: (row) => row.kernel_count, show: (row) => count(row.kernel_count) },
  ];
  return table([
    { title: "module", wide: true, value: (row) => row.path, show: indented },
    { title: "calls", numeric: true, value: (row) => row.calls, show: (row) => count(row.calls) },
    ...(found.kernels.length || found.forward.length ? spent : []), // of neither there is no time to put down to modules
    time("host", "host_ns", "time of its forward calls on the host"),
  ], found.modules, { name: "modules" });
}
