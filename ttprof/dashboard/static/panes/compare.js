// Compares two runs: ratios with intervals, regressions and wins, and the kernels of one case in both.
import { badge, choice, el, empty, problem, section, svg } from "../dom.js";
import { notRecorded } from "../availability.js";
import { count, ns, ratio, when, withUnit } from "../format.js";
import { caseName, name, profilerName } from "../names.js";
import { go } from "../state.js";
import { table } from "../table.js";

const WIDTH = 200;
const MAX_RATIO = 2; // ratios beyond 1/2 and 2 are drawn at the edge
const GRID = [0.8, 1, 1.25];

export async function draw(root, context) {
  const { store, runs, row, state } = context;
  const candidates = runs.filter((run) => !run.error && run.id !== row.id);
  if (!candidates.length) {
    root.append(empty("A comparison needs two runs, and only one can be read."));
    return;
  }
  const base = candidates.find((run) => run.id === state.base) || previousRun(candidates, row) || candidates.find((run) => run.name === row.name);
  const entries = candidates.map((run) => [run.id, `${run.folder} · ${when(run.started)}`]);
  root.append(el("div", { class: "tools" },
    choice("Base", base ? entries : [["", "choose a run"], ...entries], base ? base.id : "", (id) => go({ base: id || null }))));
  if (!base) {
    root.append(empty("There is no other run of this suite. Choose a run above to compare with a different suite."));
    return;
  }
  const comparison = await store(`compare/${base.id}/${row.id}`);
  for (const difference of comparison.unlike) root.append(el("p", { class: "problem", text: `The hardware differs, so times are not comparable: ${difference}` }));
  if (comparison.software.length) root.append(el("p", { class: "dim", text: `Different software: ${comparison.software.join(", ")}` }));
  root.append(changes(comparison, context));
  if (context.case) await kernels(root, context, base);
}

// The latest earlier run of the same suite
function previousRun(candidates, row) {
  const before = candidates.filter((run) => run.name === row.name && run.started < row.started);
  return before.sort((a, b) => b.started.localeCompare(a.started))[0];
}

function changes(comparison, context) {
  const kinds = Object.keys(comparison.counts);
  const selected = new Set(kinds.filter((kind) => kind !== "same"));
  if (!selected.size) selected.add("same");
  const list = el("div");
  const text = el("input", { type: "search", placeholder: "Filter cases and metrics", "aria-label": "Filter cases and metrics", on: { input: fill } });
  const chips = kinds.map((kind) => {
    const chip = el("button", { type: "button", class: "chip", "aria-pressed": String(selected.has(kind)) }, badge(kind), el("span", { text: comparison.counts[kind] }));
    chip.addEventListener("click", () => {
      selected.has(kind) ? selected.delete(kind) : selected.add(kind);
      chip.setAttribute("aria-pressed", String(selected.has(kind)));
      fill();
    });
    return chip;
  });
  function fill() {
    const lower = text.value.toLowerCase();
    const rows = comparison.rows.filter((row) => selected.has(row.change) && `${row.case} ${row.metric}`.toLowerCase().includes(lower));
    const [compared, tooFew] = [rows.filter((row) => !row.too_few_samples), rows.filter((row) => row.too_few_samples)];
    list.replaceChildren(...[
      compared.length ? rowTable(compared, context, "changes") : tooFew.length ? null : empty("No metric matches."),
      tooFew.length ? el("details", { class: "folded", open: !compared.length }, el("summary", { text: `${tooFew.length} undecided: too few samples` }), rowTable(tooFew, context, "undecided")) : null,
    ].filter(Boolean));
  }
  fill();
  return section("Metrics", el("div", { class: "tools" }, text, ...chips), list);
}

function rowTable(rows, context, title) {
  return table([
    { title: "change", value: (row) => row.change, show: (row) => badge(row.change) },
    { title: "case", named: true, value: (row) => row.case, show: (row) => name(row.case, 50) },
    { title: "size", value: (row) => row.point },
    { title: "metric", value: (row) => row.metric },
    { title: "base", numeric: true, value: (row) => row.base, show: (row) => withUnit(row.base, row.unit) },
    { title: "new", numeric: true, value: (row) => row.new, show: (row) => withUnit(row.new, row.unit) },
    { title: "new / base", numeric: true, value: (row) => row.ratio, show: (row) => ratio(row.ratio) },
    { title: "95 % interval (½ … 2)", value: (row) => row.ratio, show: (row) => interval(row) },
    { title: "reason", wide: true, value: (row) => row.reason, show: (row) => el("span", { class: "reason", text: row.reason, title: row.reason }) },
  ], rows, { open: (row) => row.index !== null && go({ case: row.index, trial: null }), name: title });
}

function interval(row) {
  if (row.ratio === null) return "";
  const x = (value) => Math.round((WIDTH / 2) * (1 + Math.max(-1, Math.min(1, Math.log(value || 1e-9) / Math.log(MAX_RATIO)))));
  const low = row.interval ? row.interval[0] : row.ratio;
  const high = row.interval ? row.interval[1] : row.ratio;
  const label = row.interval ? `${ratio(low)} … ${ratio(high)}` : "exact";
  const chart = svg("svg", { width: WIDTH, height: 14, class: `interval ${row.change.replace(" ", "-")}`, role: "img", "aria-label": label });
  for (const mark of GRID) chart.append(svg("line", { x1: x(mark), x2: x(mark), y1: 0, y2: 14, class: mark === 1 ? "unity" : "grid" }));
  chart.append(svg("rect", { x: x(low), width: Math.max(2, x(high) - x(low)), y: 4, height: 6 }), svg("circle", { cx: x(row.ratio), cy: 7, r: 2.5 }));
  const tip = svg("title");
  tip.textContent = label;
  chart.append(tip);
  return chart;
}

async function kernels(root, context, base) {
  const element = section(`Kernels and operators of ${caseName(context.case)}`);
  root.append(element);
  let diff;
  try {
    diff = await context.store(`diff/${base.id}/${context.row.id}/${context.case.index}/${context.trial}`);
  } catch (error) {
    element.append(problem(error));
    return;
  }
  const rows = diff.kernels.length ? diff.kernels : diff.ops;
  const kind = diff.kernels.length ? "kernels" : "operators (self time on the host)";
  if (base.backend !== context.row.backend) {
    element.append(el("p", { class: "problem", text: `The base was recorded by ${profilerName(base)}, this run by ${profilerName(context.row)}; Nsight Systems records no operators, so only kernels can be compared.` }));
    if (!diff.kernels.length) return;
  }
  if (!rows.length) {
    element.append(notRecorded(context.row, "operators", "Neither trace has kernels or operators."));
    return;
  }
  element.append(el("p", { class: "dim", text: `${kind} per ${diff.per}; changes below 5 % count as the same` }));
  const time = (i) => (row) => row.time_ns[i];
  element.append(table([
    { title: "change", value: (row) => row.change, show: (row) => badge(row.change) },
    { title: "name", wide: true, value: (row) => row.name, show: (row) => name(row.name) },
    { title: "count, base", numeric: true, value: (row) => row.count[0], show: (row) => count(row.count[0]) },
    { title: "count, new", numeric: true, value: (row) => row.count[1], show: (row) => count(row.count[1]) },
    { title: "base", numeric: true, value: time(0), show: (row) => ns(row.time_ns[0]) },
    { title: "new", numeric: true, value: time(1), show: (row) => ns(row.time_ns[1]) },
    { title: "difference", numeric: true, value: (row) => row.time_ns[1] - row.time_ns[0], show: (row) => ns(row.time_ns[1] - row.time_ns[0]) },
    { title: "new / base", numeric: true, value: (row) => row.ratio, show: (row) => ratio(row.ratio) },
  ], rows, { name: "kernels compared" }));
}
