// Paper: light, and as wide as a page. Charts and the timeline, which are drawn to measure, are drawn again for it and
// after it, with what was zoomed to.
import { fit } from "./charts.js";

export function onPaper() {
  const root = document.documentElement;
  let theme = null;
  const change = (printing, wanted) => {
    root.classList.toggle("printing", printing);
    root.dataset.theme = wanted;
    for (const chart of root.querySelectorAll(".js-plotly-plot")) fit(chart, printing ? chart.clientWidth : undefined);
    for (const timeline of root.querySelectorAll(".timeline")) timeline.dispatchEvent(new Event("fit"));
  };
  addEventListener("beforeprint", () => {
    theme ??= root.dataset.theme;
    change(true, "light");
  });
  addEventListener("afterprint", () => {
    change(false, theme || "light");
    theme = null;
  });
}
