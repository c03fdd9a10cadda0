// A thin layer over plotly: the colours of the page, and no text that plotly would read as markup.
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

export function plot(root, data, layout = {}) {
  const base = {
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
  };
  return Plotly.newPlot(root, data, { ...base, ...layout }, {
    displaylogo: false,
    responsive: true,
    displayModeBar: false,
    showTips: false,
  });
}
