// Display names: long ones are shortened, with the full name in the tooltip.
import { short } from "./charts.js";
import { el } from "./dom.js";

export function caseName(row) {
  return short(row.name || "(unnamed)", 80);
}

const PROFILERS = { torch: "torch.profiler", nsys: "Nsight Systems" };

export function profilerName(row) {
  return PROFILERS[row.backend] || row.backend;
}

export function name(text, limit = 110) {
  return el("span", { class: "name", text: short(text, limit), title: text.length > limit ? text : null });
}
