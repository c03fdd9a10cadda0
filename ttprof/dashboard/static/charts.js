// A thin layer over plotly: the colours of the page, and no text that plotly would read as markup.
import { significant } from "./format.js";
import { colour } from "./theme.js";

// Plotly reads a little HTML in texts; escaped, a name is only a name.
export function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

export function short(text, most = 60) {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
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

// A logarithmic axis whose every tick says its whole number
export function logAxis(title, low, high) {
  const range = [Math.log10(low) - 0.2, Math.log10(high) + 0.2];
  const ticks = [];
  for (let power = Math.floor(range[0]); power <= range[1]; power++) ticks.push(...[1, 2, 5].map((n) => n * 10 ** power));
  return axis(title, { type: "log", range, tickvals: ticks, ticktext: ticks.map(significant) });
}

// Plotly: held by the page, or loaded when the first chart is drawn
async function plotly() {
  if (globalThis.Plotly) return globalThis.Plotly;
  const known = document.getElementById("plotly");
  const script = known || Object.assign(document.createElement("script"), { id: "plotly", src: new URL("plotly.min.js", import.meta.url).href });
  const loaded = new Promise((resolve, reject) => {
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error("plotly.min.js could not be loaded")));
  });
  if (!known) document.head.append(script);
  await loaded;
  return globalThis.Plotly;
}

const made = new WeakMap(); // what each chart was made by

// Draws a chart again in the colours that the page has now, with what was zoomed to; without a width it fills its place
export function fit(chart, width) {
  const [data, layout] = made.get(chart)();
  globalThis.Plotly.react(chart, data, { ...base(), ...layout, width });
  if (!width) globalThis.Plotly.Plots.resize(chart); // react keeps the width that was
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
    uirevision: "same", // a chart that is drawn again stays zoomed
  };
}

// make() gives [data, layout] in the colours of the moment
export async function plot(root, make) {
  const drawer = await plotly();
  made.set(root, make);
  const [data, layout] = make();
  return drawer.newPlot(root, data, { ...base(), ...layout }, {
    displaylogo: false,
    responsive: true,
    displayModeBar: false,
    showTips: false,
  });
}
