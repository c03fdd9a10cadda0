// Formats numbers, as ttprof/units.py does.

export function significant(value) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size <= 2 ** 53) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  if (size >= 1e7 || size < 1e-4) return value.toExponential(2);
  if (size >= 100) return value.toFixed(1);
  return size >= 10 ? value.toFixed(2) : String(Number(value.toPrecision(3)));
}

export function fixed(value) {
  return value === null ? "–" : value.toFixed(2);
}

export function withUnit(value, unit) {
  return value === null || value === undefined ? "–" : `${significant(value)} ${unit}`.trimEnd();
}

export function ns(value) {
  for (const [symbol, scale] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (Math.abs(value) >= scale) return `${(value / scale).toFixed(2)} ${symbol}`;
  }
  return `${Math.round(value)} ns`;
}

export function byteUnit(value) {
  const units = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]];
  return units.find(([, scale]) => Math.abs(value) >= scale) || ["B", 1];
}

export function bytes(value) {
  const [symbol, scale] = byteUnit(value);
  return `${significant(value / scale)} ${symbol}`;
}

export function percent(share) {
  return `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
}

export function ratio(value) {
  return value === null || value === undefined ? "–" : `${value.toFixed(3)}×`;
}

export function count(value) {
  return Number(value).toLocaleString("en-GB", { maximumFractionDigits: 1 });
}

// "1 event", "2 events"
export function plural(value, noun) {
  return `${count(value)} ${noun}${Number(value) === 1 ? "" : "s"}`;
}

export function when(started) {
  const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)/.exec(started);
  return match ? `${match[1]} ${match[2]}` : started;
}
