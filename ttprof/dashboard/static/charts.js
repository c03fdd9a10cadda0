// A thin layer over plotly: it applies the colours of the page, and escapes text that plotly would read as markup.
import { significant } from "./format.js";
import { colour } from "./theme.js";

// Plotly interprets some HTML in its texts; escaping keeps names literal
export function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

export function short(text, limit = 60) {
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}

export function axis(title, more = {}) {
  return {
    title: { text: title, font: { size: 12 }, standoff: 8 },
    gridcolor: colour("line"),
    linecolor: colour("line"),
    zerolinecolor: colour("line"),
    automargin: true,
    ...more,
  };
}

// A logarithmic axis that labels every tick with its full number
export function logAxis(title, low, high) {
  const range = [Math.log10(low) - 0.2, Math.log10(high) + 0.2];
  const ticks = [];
  for (let power = Math.floor(range[0]); power <= range[1]; power++) ticks.push(...[1, 2, 5].map((n) => n * 10 ** power));
  return axis(title, { type: "log", range, tickvals: ticks, ticktext: ticks.map(significant) });
}

// Plotly is embedded in the page, or loaded when the first chart is drawn
async function plotly() {
  if (globalThis.Plotly) return globalThis.Plotly;
  const existing = document.getElementById("plotly");
  const script = existing || Object.assign(document.createElement("script"), { id: "plotly", src: new URL("plotly.min.js", import.meta.url).href });
  const loaded = new Promise((resolve, reject) => {
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error("plotly.min.js could not be loaded")));
  });
  if (!existing) document.head.append(script);
  await loaded;
  return globalThis.Plotly;
}

const makers = new WeakMap(); // maps a chart to the function that makes its data and layout

// Redraws a chart in the current colours, keeping its zoom; without a width it fills its container
export function fit(chart, width) {
  const [data, layout] = makers.get(chart)();
  globalThis.Plotly.react(chart, data, { ...base(), ...layout, width });
  if (!width) globalThis.Plotly.Plots.resize(chart); // react keeps the old width
}

function base() {
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 60, r: 16, t: 16, b: 44 },
    hoverlabel: {
      bgcolor: colour("raised"),
      bordercolor: colour("line"),
      font: { color: colour("text"), size: 12 },
      align: "left",
    },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    dragmode: "zoom",
    uirevision: "same", // keeps the zoom when the chart is redrawn
  };
}

// make() returns [data, layout] in the current colours
export async function plot(root, make) {
  const library = await plotly();
  makers.set(root, make);
  const [data, layout] = make();
  return library.newPlot(root, data, { ...base(), ...layout }, {
    displaylogo: false,
    responsive: true,
    displayModeBar: false,
    showTips: false,
  });
}
