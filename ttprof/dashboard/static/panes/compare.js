// Two runs side by side: ratios with intervals, what regressed and what won, and the kernels of a case in both.
import { badge, choice, el, empty, problem, section, svg } from "../dom.js";
import { unrecorded } from "../elsewhere.js";
import { count, ns, ratio, when, withUnit } from "../format.js";
import { caseName, name, recorder } from "../names.js";
import { go } from "../state.js";
import { table } from "../table.js";

const WIDE = 200;
const WIDEST = 2; // ratios beyond 1/2 and 2 stand at the edge
const MARKS = [0.8, 1, 1.25];

export async function draw(root, context) {
  const { store, runs, row, state } = context;
  const others = runs.filter((run) => !run.error && run.id !== row.id);
  if (!others.length) {
    root.append(empty("There is only one run that can be read; a comparison needs two."));
    return;
  }
  const base = others.find((run) => run.id === state.base) || earlier(others, row) || others.find((run) => run.name === row.name);
  const entries = others.map((run) => [run.id, `${run.folder} · ${when(run.started)}`]);
  root.append(el("div", { class: "tools" },
    choice("Compared with", base ? entries : [["", "choose a run"], ...entries], base ? base.id : "", (id) => go({ base: id || null }))));
  if (!base) {
    root.append(empty("No other run is of this suite. Choose one above to compare with another suite all the same."));
    return;
  }
  const found = await store(`compare/${base.id}/${row.id}`);
  for (const what of found.unlike) root.append(el("p", { class: "problem", text: `The hardware differs, so times can't be compared: ${what}` }));
  if (found.software.length) root.append(el("p", { class: "dim", text: `Software: ${found.software.join(", ")}` }));
  root.append(changes(found, context));
  if (context.case) await kernels(root, context, base);
}

// The latest run of the same suite before this one
function earlier(others, row) {
  const before = others.filter((run) => run.name === row.name && run.started < row.started);
  return before.sort((a, b) => b.started.localeCompare(a.started))[0];
}

function changes(found, context) {
  const kinds = Object.keys(found.counts);
  const shown = new Set(kinds.filter((kind) => kind !== "same"));
  if (!shown.size) shown.add("same");
  const place = el("div");
  const text = el("input", { type: "search", placeholder: "Filter cases and metrics", "aria-label": "Filter cases and metrics", on: { input: fill } });
  const chips = kinds.map((kind) => {
    const chip = el("button", { type: "button", class: "chip", "aria-pressed": String(shown.has(kind)) }, badge(kind), el("span", { text: found.counts[kind] }));
    chip.addEventListener("click", () => {
      shown.has(kind) ? shown.delete(kind) : shown.add(kind);
      chip.setAttribute("aria-pressed", String(shown.has(kind)));
      fill();
    });
    return chip;
  });
  function fill() {
    const wanted = text.value.toLowerCase();
    const rows = found.rows.filter((each) => shown.has(each.change) && `${each.case} ${each.metric}`.toLowerCase().includes(wanted));
    const [told, few] = [rows.filter((row) => !row.few), rows.filter((row) => row.few)];
    place.replaceChildren(...[
      told.length ? rowTable(told, context, "changes") : few.length ? null : empty("Nothing of this kind."),
      few.length ? el("details", { class: "folded", open: !told.length }, el("summary", { text: `${few.length} undecided: too few samples` }), rowTable(few, context, "undecided")) : null,
    ].filter(Boolean));
  }
  fill();
  return section("Metrics", el("div", { class: "tools" }, text, ...chips), place);
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
    { title: "95 % interval, ½ … 2", value: (row) => row.ratio, show: (row) => interval(row) },
    { title: "what", wide: true, value: (row) => row.reason, show: (row) => el("span", { class: "why", text: row.reason, title: row.reason }) },
  ], rows, { open: (row) => row.index !== null && go({ case: row.index, trial: null }), name: title });
}

function interval(row) {
  if (row.ratio === null) return "";
  const x = (value) => Math.round((WIDE / 2) * (1 + Math.max(-1, Math.min(1, Math.log(value || 1e-9) / Math.log(WIDEST)))));
  const low = row.interval ? row.interval[0] : row.ratio;
  const high = row.interval ? row.interval[1] : row.ratio;
  const said = row.interval ? `${ratio(low)} … ${ratio(high)}` : "exact";
  const found = svg("svg", { width: WIDE, height: 14, class: `interval ${row.change.replace(" ", "-")}`, role: "img", "aria-label": said });
  for (const at of MARKS) found.append(svg("line", { x1: x(at), x2: x(at), y1: 0, y2: 14, class: at === 1 ? "one" : "grid" }));
  found.append(svg("rect", { x: x(low), width: Math.max(2, x(high) - x(low)), y: 4, height: 6 }), svg("circle", { cx: x(row.ratio), cy: 7, r: 2.5 }));
  const tip = svg("title");
  tip.textContent = said;
  found.append(tip);
  return found;
}

async function kernels(root, context, base) {
  const place = section(`What ran in ${caseName(context.case)}`);
  root.append(place);
  let found;
  try {
    found = await context.store(`diff/${base.id}/${context.row.id}/${context.case.index}/${context.trial}`);
  } catch (error) {
    place.append(problem(error));
    return;
  }
  const sides = found.kernels.length ? found.kernels : found.ops;
  const what = found.kernels.length ? "kernels" : "operators (self time on the host)";
  if (base.backend !== context.row.backend) {
    place.append(el("p", { class: "problem", text: `The base was recorded by ${recorder(base)}, this run by ${recorder(context.row)}; Nsight Systems records no operators, so that only kernels can be compared.` }));
    if (!found.kernels.length) return;
  }
  if (!sides.length) {
    place.append(unrecorded(context.row, "operators", "Neither trace holds kernels or operators."));
    return;
  }
  place.append(el("p", { class: "dim", text: `${what} per ${found.per}; changes below 5 % count as the same` }));
  const time = (i) => (row) => row.time_ns[i];
  place.append(table([
    { title: "change", value: (row) => row.change, show: (row) => badge(row.change) },
    { title: "name", wide: true, value: (row) => row.name, show: (row) => name(row.name) },
    { title: "count, base", numeric: true, value: (row) => row.count[0], show: (row) => count(row.count[0]) },
    { title: "count, new", numeric: true, value: (row) => row.count[1], show: (row) => count(row.count[1]) },
    { title: "base", numeric: true, value: time(0), show: (row) => ns(row.time_ns[0]) },
    { title: "new", numeric: true, value: time(1), show: (row) => ns(row.time_ns[1]) },
    { title: "difference", numeric: true, value: (row) => row.time_ns[1] - row.time_ns[0], show: (row) => ns(row.time_ns[1] - row.time_ns[0]) },
    { title: "new / base", numeric: true, value: (row) => row.ratio, show: (row) => ratio(row.ratio) },
  ], sides, { name: "kernels compared" }));
}
