// Names as people read them; very long ones are cut where there is little room, and whole in the tip.
import { short } from "./charts.js";
import { el } from "./dom.js";

export function caseName(found) {
  return short(found.name || "(unnamed)", 80);
}

const RECORDERS = { torch: "torch.profiler", nsys: "Nsight Systems" };

export function recorder(row) {
  return RECORDERS[row.backend] || row.backend;
}

export function name(text, most = 110) {
  return el("span", { class: "name", text: short(text, most), title: text.length > most ? text : null });
}
