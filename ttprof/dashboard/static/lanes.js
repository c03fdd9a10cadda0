// The columns of a timeline as typed arrays, with what is asked of them while drawing: rows, search, what is under a point.
import { ns } from "./format.js";

export class Lanes {
  constructor(found) {
    this.lanes = found.lanes;
    this.names = found.names;
    this.kinds = found.kinds;
    const columns = found.columns;
    this.count = columns.start.length;
    this.start = Float64Array.from(columns.start);
    this.dur = Float64Array.from(columns.dur);
    for (const name of ["lane", "row", "name", "kind", "parent", "launch"]) this[name] = Int32Array.from(columns[name]);
    this.rows = this.#rows();
    this.launches = new Int32Array(this.count); // how many works each call launched
    this.launched = this.#launched();
    let last = found.dur_ns;
    let first = 0;
    for (let i = 0; i < this.count; i++) {
      if (this.start[i] < first) first = this.start[i];
      if (this.start[i] + this.dur[i] > last) last = this.start[i] + this.dur[i];
    }
    this.first = first;
    this.last = Math.max(last, first + 1);
  }

  // The events of each row stand together, by start: [{lane, row, from, to}]
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

  // For each call the first work that it launched, -1 without any
  #launched() {
    const found = new Int32Array(this.count).fill(-1);
    for (let i = this.count - 1; i >= 0; i--) {
      const call = this.launch[i];
      if (call < 0) continue;
      if (found[call] < 0 || this.start[i] < this.start[found[call]]) found[call] = i;
      this.launches[call]++;
    }
    return found;
  }

  // The call and the work that an event is one of; of several works of a call the first. Null without a launch
  link(i) {
    if (i < 0) return null;
    const work = this.launch[i] >= 0 ? i : this.launched[i];
    return work < 0 ? null : { call: this.launch[work], work };
  }

  // The launch as seen from one of its ends: [what, text], null without one
  told(i) {
    const link = this.link(i);
    if (!link) return null;
    const later = ns(this.start[link.work] - this.start[link.call]);
    if (link.work === i) return ["launched by", `${this.nameOf(link.call)}, ${later} before`];
    const more = this.launches[i] > 1 ? ` (the first of ${this.launches[i]})` : "";
    return ["launched", `${this.nameOf(link.work)}${more}, which began after ${later}`];
  }

  // The first event of a row, from index *from* on, that ends after a moment
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

  // The event of a row at a moment, give or take *slack*; -1 without one
  at(row, moment, slack) {
    const i = this.after(row, moment - slack);
    return i < row.to && this.start[i] <= moment + slack ? i : -1;
  }

  nameOf(i) {
    return this.names[this.name[i]];
  }

  // What stands in a bar: of a module path only the last name, for the others are around it
  labelOf(i) {
    const name = this.nameOf(i);
    return this.kindOf(i) === "module" ? name.slice(name.lastIndexOf(".") + 1) || "(model)" : name;
  }

  kindOf(i) {
    return this.kinds[this.kind[i]];
  }

  // What is around an event, from the inside out; device work is in what surrounds the call that launched it
  around(i) {
    const chain = [];
    let at = this.launch[i] >= 0 ? this.launch[i] : this.parent[i];
    while (at >= 0) {
      chain.push(at);
      at = this.parent[at];
    }
    return chain;
  }

  matching(text) {
    const wanted = text.toLowerCase();
    const hits = this.names.map((each) => each.toLowerCase().includes(wanted));
    const found = [];
    for (let i = 0; i < this.count; i++) if (hits[this.name[i]]) found.push(i);
    return { hits, found };
  }
}
