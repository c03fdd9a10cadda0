// The events of a timeline as typed arrays, with the queries that drawing needs: rows, search, hit testing, launches.
import { ns } from "./format.js";

export class Lanes {
  constructor(timeline) {
    this.lanes = timeline.lanes;
    this.names = timeline.names;
    this.kinds = timeline.kinds;
    const columns = timeline.columns;
    this.count = columns.start.length;
    this.start = Float64Array.from(columns.start);
    this.dur = Float64Array.from(columns.dur);
    for (const name of ["lane", "row", "name", "kind", "parent", "launch"]) this[name] = Int32Array.from(columns[name]);
    this.rows = this.#rows();
    this.launches = new Int32Array(this.count); // the number of kernels and copies that each call launched
    this.firstLaunch = this.#firstLaunches();
    let last = timeline.dur_ns;
    let first = 0;
    for (let i = 0; i < this.count; i++) {
      if (this.start[i] < first) first = this.start[i];
      if (this.start[i] + this.dur[i] > last) last = this.start[i] + this.dur[i];
    }
    this.first = first;
    this.last = Math.max(last, first + 1);
  }

  // The index range of each row (its events are contiguous, sorted by start): [{lane, row, from, to}]
  #rows() {
    const rows = [];
    for (let i = 0; i < this.count; ) {
      let to = i + 1;
      while (to < this.count && this.lane[to] === this.lane[i] && this.row[to] === this.row[i]) to++;
      rows.push({ lane: this.lane[i], row: this.row[i], from: i, to });
      i = to;
    }
    return rows;
  }

  // For each call, the earliest device work that it launched; -1 if none
  #firstLaunches() {
    const first = new Int32Array(this.count).fill(-1);
    for (let i = this.count - 1; i >= 0; i--) {
      const call = this.launch[i];
      if (call < 0) continue;
      if (first[call] < 0 || this.start[i] < this.start[first[call]]) first[call] = i;
      this.launches[call]++;
    }
    return first;
  }

  // The launch that an event is part of, as its call and its (first) device work; null if it is not part of one
  link(i) {
    if (i < 0) return null;
    const work = this.launch[i] >= 0 ? i : this.firstLaunch[i];
    return work < 0 ? null : { call: this.launch[work], work };
  }

  // Describes the launch from the side of one event, as [label, text]; null if there is none
  describeLaunch(i) {
    const link = this.link(i);
    if (!link) return null;
    const delay = ns(this.start[link.work] - this.start[link.call]);
    if (link.work === i) return ["launched by", `${this.nameOf(link.call)}, ${delay} earlier`];
    const more = this.launches[i] > 1 ? ` (the first of ${this.launches[i]})` : "";
    return ["launched", `${this.nameOf(link.work)}${more}, which started ${delay} later`];
  }

  // The first event of a row, starting at index *from*, that ends after *moment*
  after(row, moment, from = row.from) {
    let low = from;
    let high = row.to;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.start[middle] + this.dur[middle] > moment) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // The event of a row at *moment*, within *slack* ns; -1 if none
  at(row, moment, slack) {
    const i = this.after(row, moment - slack);
    return i < row.to && this.start[i] <= moment + slack ? i : -1;
  }

  nameOf(i) {
    return this.names[this.name[i]];
  }

  // The label of a bar: only the last part of a module path, because the enclosing bars show the rest
  labelOf(i) {
    const name = this.nameOf(i);
    return this.kindOf(i) === "module" ? name.slice(name.lastIndexOf(".") + 1) || "(model)" : name;
  }

  kindOf(i) {
    return this.kinds[this.kind[i]];
  }

  // The ancestors of an event, innermost first; device work has those of the call that launched it
  ancestors(i) {
    const chain = [];
    let at = this.launch[i] >= 0 ? this.launch[i] : this.parent[i];
    while (at >= 0) {
      chain.push(at);
      at = this.parent[at];
    }
    return chain;
  }

  // Searches names: whether each name matches, and the events whose name does
  search(text) {
    const lower = text.toLowerCase();
    const matches = this.names.map((name) => name.toLowerCase().includes(lower));
    const events = [];
    for (let i = 0; i < this.count; i++) if (matches[this.name[i]]) events.push(i);
    return { matches, events };
  }
}
