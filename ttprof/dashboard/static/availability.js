// Which cases have the data that a pane shows, which one a pane opens on, and links to them from a case without it.
import { el, empty } from "./dom.js";
import { caseName, profilerName } from "./names.js";
import { go } from "./state.js";

export const hasScaling = (row) => row.scaling;
export const hasTrace = (row) => Boolean(row.trials.at(-1)?.traced);
export const hasMeasurements = (row) => row.trials.length > 0;

// The cases that satisfy a predicate, the worst status first
function matching(run, has) {
  return run.cases.filter(has).sort((a, b) => a.severity - b.severity || a.index - b.index);
}

// The case to open if none is selected; the first of all if no case has the data
export function defaultCase(run, has) {
  return matching(run, has)[0] || run.cases[0];
}

// Says what a case does not have, with buttons for the cases that do
export function explainMissing(root, context, text, has) {
  root.append(empty(text));
  const cases = matching(context.run, has);
  if (!cases.length) return;
  root.append(el("div", { class: "tools" }, el("span", { class: "dim", text: "Cases that have one:" }), ...cases.map((row) =>
    el("button", { type: "button", class: "quiet", text: caseName(row), on: { click: () => go({ case: row.index, trial: null }) } }))));
}

// Says why a trace has no data of some kind: Nsight Systems records device work, not operators or allocations
export function notRecorded(row, kind, otherwise) {
  return empty(row.backend === "nsys" ? `Recorded by ${profilerName(row)}, which records no ${kind}: use backend='torch' for them.` : otherwise);
}

// Whether the selected trial has no trace; if so, the pane says it
export function lacksTrace(root, context) {
  const trial = context.case.trials[context.trial];
  if (trial && trial.traced) return false;
  explainMissing(root, context, "No trace of this case was recorded.", hasTrace);
  return true;
}
