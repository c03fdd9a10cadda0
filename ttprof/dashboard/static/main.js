// The page: the header with the panes, the choice of run, case and size, and the pane itself.
import { badge, choice, el, empty, problem } from "./dom.js";
import { first, measured, swept, traced } from "./elsewhere.js";
import { when } from "./format.js";
import { caseName } from "./names.js";
import { onPaper } from "./print.js";
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

// needs: what must be chosen before the pane can be drawn; has: what a case needs for it, else any will do
const PANES = [
  { id: "suite", title: "Suite", needs: "runs", draw: suite.draw },
  { id: "case", title: "Case", needs: "case", draw: casePane.draw, has: measured },
  { id: "kernels", title: "Kernels", needs: "case", draw: kernels.draw, has: traced },
  { id: "timeline", title: "Timeline", needs: "case", draw: timeline.draw, has: traced },
  { id: "memory", title: "Memory", needs: "case", draw: memory.draw, has: traced },
  { id: "scaling", title: "Scaling", needs: "case", draw: scaling.draw, has: swept },
  { id: "compare", title: "Compare", needs: "run", draw: compare.draw, has: traced },
  { id: "history", title: "History", needs: "case", draw: history.draw, has: measured },
];
const OF_A_TRIAL = ["case", "kernels", "timeline", "memory"];

export async function start(root, store) {
  const tabs = PANES.map((pane) =>
    el("button", { type: "button", role: "tab", id: `tab-${pane.id}`, text: pane.title, on: { click: () => go({ pane: pane.id }) } }));
  const bar = el("nav", { role: "tablist", "aria-label": "Panes", on: { keydown: alongTabs } }, ...tabs);
  const choices = el("div", { class: "choices" });
  const main = el("main", { id: "pane", role: "tabpanel" });
  let last = 0;

  async function draw() {
    const turn = ++last;
    const stale = () => turn !== last;
    const page = el("div", { class: "pane" });
    delete main.dataset.ready;
    try {
      const pane = PANES.find((each) => each.id === current().pane) || PANES[0];
      const context = await chosen(store, pane);
      if (stale()) return;
      document.title = `ttprof · ${pane.title}`;
      main.dataset.pane = pane.id;
      tabs.forEach((tab, i) => {
        tab.setAttribute("aria-selected", String(PANES[i] === pane));
        tab.tabIndex = PANES[i] === pane ? 0 : -1;
      });
      choices.replaceChildren(...selectors(context, pane));
      main.replaceChildren(page);
      const lacking = missing(context, pane);
      if (lacking) page.append(lacking);
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
    choices,
    main,
    leftOut(store.notes),
  ].filter(Boolean));
  onChange(draw);
  onPaper();
  await draw();
}

function leftOut(notes) {
  if (!notes.length) return null;
  return el("footer", {}, el("h2", { text: "What this file leaves out" }), el("ul", {}, ...notes.map((text) => el("li", { text }))));
}

async function chosen(store, pane) {
  const state = current();
  const { runs, log_directory: logDirectory } = await store("runs");
  const readable = runs.filter((run) => !run.error);
  const row = runs.find((run) => run.id === state.run) || readable[0] || null;
  const run = row && !row.error ? await store(`run/${row.id}`) : null;
  const found = run && (run.cases[Number(state.case)] || first(run, pane.has || measured));
  const trials = found ? found.trials : [];
  const trial = trials[Number(state.trial)] ? Number(state.trial) : trials.length - 1;
  return { store, state, runs, row, run, case: found || null, trial, logDirectory };
}

function missing(context, pane) {
  if (pane.needs === "runs") return null;
  if (!context.row) return empty(`No run in ${context.logDirectory}. Run a suite, and reload this page.`);
  if (!context.run) return problem(new Error(`${context.row.folder}: ${context.row.error}`));
  return pane.needs === "case" && !context.case ? empty("This run has no cases.") : null;
}

function selectors(context, pane) {
  const { runs, row, run, case: found, trial } = context;
  if (pane.needs === "runs" || !row) return [];
  const shown = [
    choice("Run", runs.map((each) => [each.id, `${each.folder}${each.started ? ` · ${when(each.started)}` : ""}`]), row.id,
      (id) => go({ run: id, case: null, trial: null, base: null })),
  ];
  if (!found || pane.needs === "run" && pane.id !== "compare") return shown;
  shown.push(choice("Case", run.cases.map((each) => [each.index, `${each.status}  ${caseName(each)}`]), found.index,
    (index) => go({ case: index, trial: null, iteration: null })));
  if (OF_A_TRIAL.includes(pane.id) && found.trials.length > 1) {
    shown.push(choice("Size", found.trials.map((each, i) => [i, each.label || "as given"]), trial,
      (index) => go({ trial: index, iteration: null })));
  }
  shown.push(badge(found.status));
  return shown;
}

function alongTabs(event) {
  const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
  const next = step && event.target[step];
  if (next) {
    next.focus();
    next.click();
  }
}
