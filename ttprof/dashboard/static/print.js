// Printing uses the light theme and the width of a page. Charts and timelines have a fixed size, so they are redrawn
// before and after, keeping their zoom.
import { fit } from "./charts.js";

export function enablePrinting() {
  const root = document.documentElement;
  let theme = null;
  const apply = (printing, newTheme) => {
    root.classList.toggle("printing", printing);
    root.dataset.theme = newTheme;
    for (const chart of root.querySelectorAll(".js-plotly-plot")) fit(chart, printing ? chart.clientWidth : undefined);
    for (const timeline of root.querySelectorAll(".timeline")) timeline.dispatchEvent(new Event("fit"));
  };
  addEventListener("beforeprint", () => {
    theme ??= root.dataset.theme;
    apply(true, "light");
  });
  addEventListener("afterprint", () => {
    apply(false, theme || "light");
    theme = null;
  });
}
