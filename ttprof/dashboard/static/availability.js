// Finds the cases with data for a pane: the one it opens on, and links to them from a case without data.
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

// The case to open if none is selected; the first case if none has the data
export function defaultCase(run, has) {
  return matching(run, has)[0] || run.cases[0];
}

// Explains that a case lacks some data, with buttons for the cases that have it
export function explainMissing(root, context, text, has) {
  root.append(empty(text));
  const cases = matching(context.run, has);
  if (!cases.length) return;
  root.append(el("div", { class: "tools" }, el("span", { class: "dim", text: "Cases that have one:" }), ...cases.map((row) =>
    el("button", { type: "button", class: "quiet", text: caseName(row), on: { click: () => go({ case: row.index, trial: null }) } }))));
}

// Explains why a trace has no data of some kind: Nsight Systems records device work, not operators or allocations
export function notRecorded(row, kind, otherwise) {
  return empty(row.backend === "nsys" ? `Recorded by ${profilerName(row)}, which records no ${kind}: use backend='torch' for them.` : otherwise);
}

// Whether the selected trial has no trace, in which case the pane says so
export function lacksTrace(root, context) {
  const trial = context.case.trials[context.trial];
  if (trial && trial.traced) return false;
  explainMissing(root, context, "No trace of this case was recorded.", hasTrace);
  return true;
}
