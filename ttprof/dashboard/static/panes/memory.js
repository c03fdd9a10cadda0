// Allocated and reserved memory over time, and the allocations live at the peak.
import { axis, plot } from "../charts.js";
import { el, empty, facts, section } from "../dom.js";
import { lacksTrace, notRecorded } from "../availability.js";
import { byteUnit, bytes, count, ns, plural } from "../format.js";
import { name } from "../names.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

export async function draw(root, context) {
  if (lacksTrace(root, context)) return;
  const trace = await context.store(`trace/${context.row.id}/${context.case.index}/${context.trial}`);
  if (!trace.memory.length) {
    root.append(notRecorded(context.row, "allocations", "The trace has no allocator events: it was recorded without profile_memory."));
    return;
  }
  const devices = [...trace.memory].sort((a, b) => b.usage.allocated_bytes - a.usage.allocated_bytes);
  await Promise.all(devices.map((row) => device(root, row.device, row.usage)));
}

async function device(root, title, usage) {
  const chart = el("div", { class: "chart" });
  const { peak } = usage;
  let plotted = null;
  const element = section(title, facts([
    ["peak", peak && bytes(peak.allocated_bytes)],
    ["reached at", peak && ns(peak.at_ns)],
    ["allocated before the trace", peak && bytes(peak.before_trace_bytes)],
    ["total allocated", `${bytes(usage.allocated_bytes)} in ${plural(usage.allocations, "allocation")}`],
    ["total freed", `${bytes(usage.freed_bytes)} in ${plural(usage.frees, "free")}`],
  ]));
  root.append(element);
  if (!usage.curve) element.append(empty("The trace does not record the total allocated memory, so there is no curve and no peak."));
  else {
    element.append(chart);
    plotted = plot(chart, () => curve(usage));
  }
  if (!peak) return plotted;
  const before = { name: "Allocated before the trace", count: null, bytes: peak.before_trace_bytes };
  const rest = peak.before_trace_bytes ? [before] : [];
  element.append(el("div", { class: "pair" },
    section("Live at the peak, by operator", holders([...peak.by_op, ...rest], peak)),
    section("Live at the peak, by module", holders([...peak.by_module, ...rest], peak))));
  await plotted;
}

function curve(usage) {
  const highest = Math.max(1, ...usage.curve.map((row) => Math.max(row[1], row[2]))); // the axis leaves room above it for the label of the peak
  const [symbol, scale] = byteUnit(highest);
  const line = (at, title, shade) => ({
    type: "scatter", mode: "lines", name: title, x: usage.curve.map((row) => row[0] / 1e6), y: usage.curve.map((row) => row[at] / scale),
    line: { shape: "hv", width: 1.5, color: shade }, hovertemplate: `%{y:.3f} ${symbol} ${title}<br>at %{x:.3f} ms<extra></extra>`,
  });
  const traces = [{ ...line(1, "allocated", colour("data")), fill: "tozeroy" }];
  if (usage.curve.some((row) => row[2] > 0)) traces.push(line(2, "reserved", colour("dim"))); // a CPU reserves nothing
  if (usage.peak) {
    traces.push({ type: "scatter", mode: "markers+text", name: "peak", x: [usage.peak.at_ns / 1e6], y: [usage.peak.allocated_bytes / scale],
      text: [bytes(usage.peak.allocated_bytes)], textposition: "top center", marker: { color: colour("mark"), size: 9, symbol: "diamond" }, hovertemplate: "peak %{text}<extra></extra>" });
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
