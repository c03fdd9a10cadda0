// The page: the tabs, the selectors for run, case and size, and the current pane.
import { badge, choice, el, empty, problem } from "./dom.js";
import { defaultCase, hasMeasurements, hasScaling, hasTrace } from "./availability.js";
import { when } from "./format.js";
import { caseName } from "./names.js";
import { enablePrinting } from "./print.js";
import { current, go, onChange } from "./state.js";
import { themeSwitch } from "./theme.js";
import * as suite from "./panes/suite.js";
import * as casePane from "./panes/case.js";
import * as kernels from "./panes/kernels.js";
import * as timeline from "./panes/timeline.js";
import * as memory from "./panes/memory.js";
import * as scaling from "./panes/scaling.js";
import * as compare from "./panes/compare.js";
import * as history from "./panes/history.js";

// needs: the selection required to draw the pane; has: whether it can show a case, to choose the default one
const PANES = [
  { id: "suite", title: "Suite", needs: "runs", draw: suite.draw },
  { id: "case", title: "Case", needs: "case", draw: casePane.draw, has: hasMeasurements },
  { id: "kernels", title: "Kernels", needs: "case", draw: kernels.draw, has: hasTrace },
  { id: "timeline", title: "Timeline", needs: "case", draw: timeline.draw, has: hasTrace },
  { id: "memory", title: "Memory", needs: "case", draw: memory.draw, has: hasTrace },
  { id: "scaling", title: "Scaling", needs: "case", draw: scaling.draw, has: hasScaling },
  { id: "compare", title: "Compare", needs: "run", draw: compare.draw, has: hasTrace },
  { id: "history", title: "History", needs: "case", draw: history.draw, has: hasMeasurements },
];
const TRIAL_PANES = ["case", "kernels", "timeline", "memory"];

export async function start(root, store) {
  const tabs = PANES.map((pane) =>
    el("button", { type: "button", role: "tab", id: `tab-${pane.id}`, text: pane.title, on: { click: () => go({ pane: pane.id }) } }));
  const bar = el("nav", { role: "tablist", "aria-label": "Panes", on: { keydown: moveBetweenTabs } }, ...tabs);
  const selectors = el("div", { class: "selectors" });
  const main = el("main", { id: "pane", role: "tabpanel" });
  let last = 0;

  async function draw() {
    const turn = ++last;
    const stale = () => turn !== last;
    const page = el("div", { class: "pane" });
    delete main.dataset.ready;
    try {
      const pane = PANES.find((candidate) => candidate.id === current().pane) || PANES[0];
      const context = await select(store, pane);
      if (stale()) return;
      document.title = `ttprof · ${pane.title}`;
      main.dataset.pane = pane.id;
      tabs.forEach((tab, i) => {
        tab.setAttribute("aria-selected", String(PANES[i] === pane));
        tab.tabIndex = PANES[i] === pane ? 0 : -1;
      });
      selectors.replaceChildren(...makeSelectors(context, pane));
      main.replaceChildren(page);
      const obstacle = cannotDraw(context, pane);
      if (obstacle) page.append(obstacle);
      else await pane.draw(page, context);
    } catch (error) {
      if (stale()) return;
      if (!page.isConnected) main.replaceChildren(page);
      page.append(problem(error));
    }
    if (!stale()) main.dataset.ready = current().pane || "suite";
  }

  document.documentElement.classList.add("ttprof");
  root.replaceChildren(...[
    el("header", {}, el("strong", { text: "ttprof" }), bar, themeSwitch(draw)),
    selectors,
    main,
    omissions(store.notes),
  ].filter(Boolean));
  onChange(draw);
  enablePrinting();
  await draw();
}

function omissions(notes) {
  if (!notes.length) return null;
  return el("footer", {}, el("h2", { text: "Not in this file" }), el("ul", {}, ...notes.map((text) => el("li", { text }))));
}

async function select(store, pane) {
  const state = current();
  const { runs, log_directory: logDirectory } = await store("runs");
  const readable = runs.filter((run) => !run.error);
  const row = runs.find((run) => run.id === state.run) || readable[0] || null;
  const run = row && !row.error ? await store(`run/${row.id}`) : null;
  const selected = run && (run.cases[Number(state.case)] || defaultCase(run, pane.has || hasMeasurements));
  const trials = selected ? selected.trials : [];
  const trial = trials[Number(state.trial)] ? Number(state.trial) : trials.length - 1;
  return { store, state, runs, row, run, case: selected || null, trial, logDirectory };
}

function cannotDraw(context, pane) {
  if (pane.needs === "runs") return null;
  if (!context.row) return empty(`There are no runs in ${context.logDirectory}. Run a suite, then reload this page.`);
  if (!context.run) return problem(new Error(`${context.row.folder}: ${context.row.error}`));
  return pane.needs === "case" && !context.case ? empty("This run has no cases.") : null;
}

function makeSelectors(context, pane) {
  const { runs, row, run, case: selected, trial } = context;
  if (pane.needs === "runs" || !row) return [];
  const elements = [
    choice("Run", runs.map((other) => [other.id, `${other.folder}${other.started ? ` · ${when(other.started)}` : ""}`]), row.id,
      (id) => go({ run: id, case: null, trial: null, base: null })),
  ];
  if (!selected || pane.needs === "run" && pane.id !== "compare") return elements;
  elements.push(choice("Case", run.cases.map((other) => [other.index, `${other.status}  ${caseName(other)}`]), selected.index,
    (index) => go({ case: index, trial: null, iteration: null })));
  if (TRIAL_PANES.includes(pane.id) && selected.trials.length > 1) {
    elements.push(choice("Size", selected.trials.map((row, i) => [i, row.label || "as given"]), trial,
      (index) => go({ trial: index, iteration: null })));
  }
  elements.push(badge(selected.status));
  return elements;
}

function moveBetweenTabs(event) {
  const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
  const next = step && event.target[step];
  if (next) {
    next.focus();
    next.click();
  }
}
