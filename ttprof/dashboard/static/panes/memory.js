// What was allocated and reserved over time, where the peak was, and what was live there.
import { axis, plot } from "../charts.js";
import { el, empty, facts, section } from "../dom.js";
import { unrecorded, untraced } from "../elsewhere.js";
import { byteUnit, bytes, count, ns } from "../format.js";
import { name } from "../names.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

export async function draw(root, context) {
  if (untraced(root, context)) return;
  const found = await context.store(`trace/${context.row.id}/${context.case.index}/${context.trial}`);
  if (!found.memory.length) {
    root.append(unrecorded(context.row, "allocations", "The trace holds no allocator events: it was recorded without profile_memory."));
    return;
  }
  const most = [...found.memory].sort((a, b) => b.found.allocated_bytes - a.found.allocated_bytes);
  await Promise.all(most.map((each) => device(root, each.device, each.found)));
}

async function device(root, title, found) {
  const chart = el("div", { class: "chart" });
  const { peak } = found;
  let drawn = null;
  const place = section(title, facts([
    ["peak", peak && bytes(peak.allocated_bytes)],
    ["at", peak && ns(peak.at_ns)],
    ["before the trace", peak && bytes(peak.before_trace_bytes)],
    ["allocated in all", `${bytes(found.allocated_bytes)} in ${count(found.allocations)} allocations`],
    ["freed in all", `${bytes(found.freed_bytes)} in ${count(found.frees)} frees`],
  ]));
  root.append(place);
  if (!found.curve) place.append(empty("The trace does not state what was allocated in all, so there is no curve and no peak."));
  else {
    place.append(chart);
    drawn = plot(chart, () => curve(found));
  }
  if (!peak) return drawn;
  const before = { name: "Allocated before the trace", count: null, bytes: peak.before_trace_bytes };
  const rest = peak.before_trace_bytes ? [before] : [];
  place.append(el("div", { class: "pair" },
    section("Live at the peak, by operator", holders([...peak.by_op, ...rest], peak)),
    section("Live at the peak, by module", holders([...peak.by_module, ...rest], peak))));
  await drawn;
}

function curve(found) {
  const highest = Math.max(1, ...found.curve.map((row) => Math.max(row[1], row[2]))); // and room above it for the peak's label
  const [symbol, scale] = byteUnit(highest);
  const line = (at, title, shade) => ({
    type: "scatter", mode: "lines", name: title, x: found.curve.map((row) => row[0] / 1e6), y: found.curve.map((row) => row[at] / scale),
    line: { shape: "hv", width: 1.5, color: shade }, hovertemplate: `%{y:.3f} ${symbol} ${title}<br>at %{x:.3f} ms<extra></extra>`,
  });
  const traces = [{ ...line(1, "allocated", colour("data")), fill: "tozeroy" }];
  if (found.curve.some((row) => row[2] > 0)) traces.push(line(2, "reserved", colour("dim"))); // a CPU reserves nothing
  if (found.peak) {
    traces.push({ type: "scatter", mode: "markers+text", name: "peak", x: [found.peak.at_ns / 1e6], y: [found.peak.allocated_bytes / scale],
      text: [bytes(found.peak.allocated_bytes)], textposition: "top center", marker: { color: colour("mark"), size: 9, symbol: "diamond" }, hovertemplate: "peak %{text}<extra></extra>" });
  }
  return [traces, { xaxis: axis("time since the first allocator event (ms)"), yaxis: axis(symbol, { range: [0, (1.15 * highest) / scale] }) }];
}

function holders(rows, peak) {
  const share = (row) => el("span", { class: "share" },
    el("i", { style: `width:${Math.min(100, (100 * row.bytes) / (peak.allocated_bytes || 1)).toFixed(2)}%` }), el("span", { text: bytes(row.bytes) }));
  return table([
    { title: "name", wide: true, value: (row) => row.name, show: (row) => name(row.name || "(model)", 70) },
    { title: "count", numeric: true, value: (row) => row.count, show: (row) => (row.count === null ? "·" : count(row.count)) },
    { title: "live", numeric: true, value: (row) => row.bytes, show: share },
  ], rows, { sort: 2, descending: true, name: "live at the peak" });
}
