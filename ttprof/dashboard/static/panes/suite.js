// Every run, and the cases of the chosen one: failures first, filtered by text and status, sorted by any column.
import { badge, el, empty, facts, problem, section } from "../dom.js";
import { counted, significant, when } from "../format.js";
import { name, recorder } from "../names.js";
import { go } from "../state.js";
import { table } from "../table.js";

const STATUSES = ["ERROR", "FAIL", "INCONCLUSIVE", "PASS", "SKIP"];

export async function draw(root, context) {
  const { runs, row, run, logDirectory } = context;
  if (!runs.length) {
    root.append(empty(`No run in ${logDirectory}. Run a suite, and reload this page.`));
    return;
  }
  root.append(section(counted(runs.length, "run"), runTable(runs, row)));
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
  const found = table(columns, runs, { open: (run) => go({ run: run.id, case: null, trial: null }), chosen: (run) => run === chosen, name: "runs" });
  found.classList.add("runs");
  return found;
}

function outcome(run) {
  if (run.error) return "ERROR";
  return run.passed ? "PASS" : "FAIL";
}

function environment(run) {
  const env = run.environment;
  const versions = Object.entries(env.versions).map(([what, version]) => `${what} ${version}`).join(", ");
  const times = Object.entries(run.seconds).map(([phase, spent]) => `${phase} ${spent.toFixed(1)} s`).join(", ");
  const clocks = Object.entries(env.clocks).map(([what, value]) => `${what} ${value}`).join(", ");
  return facts([
    ["device", `${env.device} · ${env.device_name}`],
    ["CPU", `${env.cpu} (${env.cpu_count})`],
    ["threads", env.threads],
    ["load", env.load_average === null ? null : significant(env.load_average)],
    ["recorded by", recorder(run.row)],
    ["versions", versions],
    ["commit", env.git_commit && env.git_commit.slice(0, 12)],
    ["host", `${env.hostname} · ${env.platform}`],
    ["clocks", clocks],
    ["spent", times],
    ["mode", [run.strict ? "strict" : "", run.interrupted ? "interrupted" : ""].filter(Boolean).join(", ")],
  ]);
}

function cases(run) {
  const shown = new Set(run.columns.filter((column) => column.shown).map((column) => column.name));
  const statuses = new Set();
  const place = el("div", { class: "cases" });
  const text = el("input", { type: "search", placeholder: "Filter cases", "aria-label": "Filter cases", on: { input: fill } });
  const tally = el("span", { class: "dim", role: "status" });
  const chips = STATUSES.map((status) => {
    const n = run.cases.filter((each) => each.status === status).length;
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
    const wanted = text.value.toLowerCase();
    const rows = run.cases.filter((each) =>
      (!statuses.size || statuses.has(each.status)) &&
      (!wanted || `${each.name} ${each.type} ${each.reason}`.toLowerCase().includes(wanted)));
    tally.textContent = rows.length === run.cases.length ? counted(rows.length, "case") : `${rows.length} of ${counted(run.cases.length, "case")}`;
    place.replaceChildren(rows.length ? caseTable(run, rows, shown) : empty("No case matches."));
  }

  fill();
  return section("Cases",
    el("div", { class: "tools" }, text, ...chips, tally, columnChoice(run, shown, fill)), place);
}

function columnChoice(run, shown, changed) {
  const boxes = run.columns.map((column) => {
    const box = el("input", { type: "checkbox", checked: shown.has(column.name) });
    box.addEventListener("change", () => {
      box.checked ? shown.add(column.name) : shown.delete(column.name);
      changed();
    });
    return el("label", {}, box, el("span", { text: ` ${column.name}` }));
  });
  return el("details", { class: "columns" }, el("summary", { text: "Columns" }), el("div", {}, ...boxes));
}

function caseTable(run, rows, shown) {
  const columns = [
    { title: "status", value: (each) => each.severity, show: (each) => badge(each.status) },
    { title: "case", named: true, value: (each) => each.name, show: (each) => name(each.name || "(unnamed)", 60) },
    { title: "type", value: (each) => each.type, show: (each) => name(each.type, 30) },
    ...run.columns.filter((column) => shown.has(column.name)).map((column) => ({
      title: column.unit ? `${column.label} (${column.unit})` : column.label,
      tip: column.name,
      numeric: true,
      value: (each) => (each.cells[column.name] ? each.cells[column.name].value : null),
      show: (each) => cell(each.cells[column.name]),
    })),
    { title: "sizes", numeric: true, value: (each) => each.trials.length, show: (each) => (each.trials.length > 1 ? each.trials.length : "·") },
    { title: "why", wide: true, value: (each) => each.reason, show: (each) => (each.status === "PASS" ? "" : why(each)) },
  ];
  return table(columns, rows, { sort: 0, open: (each) => go({ pane: "case", run: run.row.id, case: each.index, trial: null }), name: "cases" });
}

// The worst verdict; how many others are as bad stands before a long sentence can be cut
function why(found) {
  const more = found.further ? el("span", { class: "further", text: `(+${found.further} more) ` }) : null;
  return el("span", { class: "why", title: found.reason }, more, found.reason);
}

function cell(found) {
  if (!found) return "–";
  const value = el("span", { class: found.status ? `is-${found.status.toLowerCase()}` : null, text: significant(found.value) });
  if (found.limit === null) return value;
  return el("span", { title: found.status }, value, el("span", { class: "dim", text: ` ${found.limit}` }));
}
