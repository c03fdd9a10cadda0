// What a pane needs of a case, which case it opens on by itself, and where to go from one that lacks it.
import { el, empty } from "./dom.js";
import { caseName, recorder } from "./names.js";
import { go } from "./state.js";

export const swept = (found) => found.scaling;
export const traced = (found) => Boolean(found.trials.at(-1)?.traced);
export const measured = (found) => found.trials.length > 0;

// The cases that have it, the worst first
function having(run, has) {
  return run.cases.filter(has).sort((a, b) => a.severity - b.severity || a.index - b.index);
}

// The case to open where none was chosen; any where none has what is needed
export function first(run, has) {
  return having(run, has)[0] || run.cases[0];
}

// Says what a case lacks, beside buttons to those that have it
export function lacks(root, context, text, has) {
  root.append(empty(text));
  const others = having(context.run, has);
  if (!others.length) return;
  root.append(el("div", { class: "tools" }, el("span", { class: "dim", text: "Cases that have it:" }), ...others.map((each) =>
    el("button", { type: "button", class: "quiet", text: caseName(each), on: { click: () => go({ case: each.index, trial: null }) } }))));
}

// Says of what a trace holds nothing, and how to get it: Nsight records what a device does, not what torch does
export function unrecorded(row, what, otherwise) {
  return empty(row.backend === "nsys" ? `Recorded by ${recorder(row)}, which records no ${what}: use backend='torch' for them.` : otherwise);
}

// Whether a trial has no trace to draw, which is said then
export function untraced(root, context) {
  const trial = context.case.trials[context.trial];
  if (trial && trial.traced) return false;
  lacks(root, context, "No trace of this case was recorded.", traced);
  return true;
}
