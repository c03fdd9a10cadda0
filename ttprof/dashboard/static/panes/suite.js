// The runs, and the cases of the selected one: failures first, filtered by text and status, sorted by any column.
import { badge, el, empty, facts, problem, section } from "../dom.js";
import { plural, significant, when } from "../format.js";
import { name, profilerName } from "../names.js";
import { go } from "../state.js";
import { table } from "../table.js";

const STATUSES = ["ERROR", "FAIL", "INCONCLUSIVE", "PASS", "SKIP"];

export async function draw(root, context) {
  const { runs, row, run, logDirectory } = context;
  if (!runs.length) {
    root.append(empty(`There are no runs in ${logDirectory}. Run a suite, then reload this page.`));
    return;
  }
  root.append(section(plural(runs.length, "run"), runTable(runs, row)));
  if (!run) {
    root.append(problem(new Error(`${row ? row.folder : ""}: ${row ? row.error : "no run can be read"}`)));
    return;
  }
  root.append(environment(run), cases(run));
}

function runTable(runs, chosen) {
  const columns = [
    { title: "status", value: (run) => outcome(run), show: (run) => badge(outcome(run)) },
    { title: "run", value: (run) => run.folder, show: (run) => name(run.folder, 60) },
    { title: "suite", value: (run) => run.name, show: (run) => (run.error ? el("span", { class: "bad", text: run.error }) : name(run.name, 40)) },
    { title: "started", value: (run) => run.started, show: (run) => when(run.started) },
    ...STATUSES.map((status) => ({
      title: status.toLowerCase(), numeric: true,
      value: (run) => run.counts[status] || 0, show: (run) => run.counts[status] || "·",
    })),
    { title: "device", value: (run) => run.device, show: (run) => name(run.device, 50) },
  ];
  const element = table(columns, runs, { open: (run) => go({ run: run.id, case: null, trial: null }), chosen: (run) => run === chosen, name: "runs" });
  element.classList.add("runs");
  return element;
}

function outcome(run) {
  if (run.error) return "ERROR";
  return run.passed ? "PASS" : "FAIL";
}

function environment(run) {
  const env = run.environment;
  const versions = Object.entries(env.versions).map(([program, version]) => `${program} ${version}`).join(", ");
  const times = Object.entries(run.seconds).map(([phase, seconds]) => `${phase} ${seconds.toFixed(1)} s`).join(", ");
  const clocks = Object.entries(env.clocks).map(([clock, value]) => `${clock} ${value}`).join(", ");
  return facts([
    ["device", `${env.device} · ${env.device_name}`],
    ["note", env.experimental],
    ["CPU", `${env.cpu} (${env.cpu_count})`],
    ["threads", env.threads],
    ["load average", env.load_average === null ? null : significant(env.load_average)],
    ["recorded by", profilerName(run.row)],
    ["versions", versions],
    ["commit", env.git_commit && env.git_commit.slice(0, 12)],
    ["system", env.platform],
    ["clocks", clocks],
    ["time spent", times],
    ["mode", [run.strict ? "strict" : "", run.interrupted ? "interrupted" : ""].filter(Boolean).join(", ")],
  ]);
}

function cases(run) {
  const visible = new Set(run.columns.filter((column) => column.visible).map((column) => column.name));
  const statuses = new Set();
  const list = el("div", { class: "cases" });
  const text = el("input", { type: "search", placeholder: "Filter cases", "aria-label": "Filter cases", on: { input: fill } });
  const tally = el("span", { class: "dim", role: "status" });
  const chips = STATUSES.map((status) => {
    const n = run.cases.filter((row) => row.status === status).length;
    if (!n) return null;
    const chip = el("button", { type: "button", class: "chip", "aria-pressed": "false" }, badge(status), el("span", { text: n }));
    chip.addEventListener("click", () => {
      statuses.has(status) ? statuses.delete(status) : statuses.add(status);
      chip.setAttribute("aria-pressed", String(statuses.has(status)));
      fill();
    });
    return chip;
  });

  function fill() {
    const lower = text.value.toLowerCase();
    const rows = run.cases.filter((row) =>
      (!statuses.size || statuses.has(row.status)) &&
      (!lower || `${row.name} ${row.type} ${row.reason}`.toLowerCase().includes(lower)));
    tally.textContent = rows.length === run.cases.length ? plural(rows.length, "case") : `${rows.length} of ${plural(run.cases.length, "case")}`;
    list.replaceChildren(rows.length ? caseTable(run, rows, visible) : empty("No case matches."));
  }

  fill();
  return section("Cases",
    el("div", { class: "tools" }, text, ...chips, tally, columnChoice(run, visible, fill)), list);
}

function columnChoice(run, visible, onChange) {
  const checkboxes = run.columns.map((column) => {
    const checkbox = el("input", { type: "checkbox", checked: visible.has(column.name) });
    checkbox.addEventListener("change", () => {
      checkbox.checked ? visible.add(column.name) : visible.delete(column.name);
      onChange();
    });
    return el("label", {}, checkbox, el("span", { text: ` ${column.name}` }));
  });
  return el("details", { class: "columns" }, el("summary", { text: "Columns" }), el("div", {}, ...checkboxes));
}

function caseTable(run, rows, visible) {
  const columns = [
    { title: "status", value: (row) => row.severity, show: (row) => badge(row.status) },
    { title: "case", named: true, value: (row) => row.name, show: (row) => name(row.name || "(unnamed)", 60) },
    { title: "reason", wide: true, value: (row) => row.reason, show: (row) => (row.status === "PASS" ? "" : reason(row)) },
    { title: "type", value: (row) => row.type, show: (row) => name(row.type, 30) },
    ...run.columns.filter((column) => visible.has(column.name)).map((column) => ({
      title: column.unit ? `${column.label} (${column.unit})` : column.label,
      tip: column.name,
      numeric: true,
      value: (row) => (row.cells[column.name] ? row.cells[column.name].value : null),
      show: (row) => cell(row.cells[column.name]),
    })),
    { title: "sizes", numeric: true, value: (row) => row.trials.length, show: (row) => (row.trials.length > 1 ? row.trials.length : "·") },
  ];
  return table(columns, rows, { sort: 0, open: (row) => go({ pane: "case", run: run.row.id, case: row.index, trial: null }), name: "cases" });
}

// The reason for the worst verdict. The number of equally bad ones comes first, because a long reason is cut off
function reason(row) {
  const more = row.further ? el("span", { class: "more-verdicts", text: `(+${row.further} more) ` }) : null;
  return el("span", { class: "reason", title: row.reason }, more, row.reason);
}

function cell(metric) {
  if (!metric) return "–";
  const value = el("span", { class: metric.status ? `is-${metric.status.toLowerCase()}` : null, text: significant(metric.value) });
  if (metric.limit === null) return value;
  return el("span", { title: metric.status }, value, el("span", { class: "dim", text: ` ${metric.limit}` }));
}
