// A table that can be sorted by every column, and walked and opened with the keyboard.
import { el } from "./dom.js";

const MOST_ROWS = 500;

// columns: {title, value(row): what is sorted by, show(row): text or element, numeric, tip, wide, named}
export function table(columns, rows, { sort = null, descending = false, open = null, chosen = null, name = "", narrow = false } = {}) {
  let by = sort;
  let down = descending;
  let most = MOST_ROWS;
  const body = el("tbody");
  const more = el("button", { type: "button", class: "quiet more", on: { click: () => ((most = Infinity), fill()) } });
  const heads = columns.map((column, i) =>
    el("th", { scope: "col", class: classes(column), title: column.tip, data: { title: column.title } },
      el("button", { type: "button", text: column.title, on: { click: () => order(i) } })));
  const found = el("table", { "aria-label": name }, el("thead", {}, el("tr", {}, ...heads)), body);

  function order(i) {
    down = by === i ? !down : Boolean(columns[i].numeric);
    by = i;
    fill();
  }

  function fill() {
    const ordered = by === null ? rows : [...rows].sort((a, b) => compared(columns[by], a, b, down));
    heads.forEach((head, i) => {
      if (i === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(...ordered.slice(0, most).map((row) => line(columns, row, open, chosen)));
    more.hidden = ordered.length <= most;
    more.textContent = `Show all ${ordered.length} rows`;
  }

  body.addEventListener("keydown", walk);
  fill();
  return el("div", { class: narrow ? "scroll narrow" : "scroll" }, found, more);
}

function classes(column) {
  return [column.numeric ? "number" : "", column.wide ? "wide" : "", column.named ? "named" : ""].join(" ").trim() || null;
}

function compared(column, a, b, down) {
  const [x, y] = [column.value(a), column.value(b)];
  if (x === y) return 0;
  if (x === null || x === undefined) return 1; // what was not measured comes last, either way
  if (y === null || y === undefined) return -1;
  const before = typeof x === "string" ? x.localeCompare(y) : x - y;
  return down ? -before : before;
}

function line(columns, row, open, chosen) {
  const cells = columns.map((column) => {
    const shown = column.show ? column.show(row) : column.value(row);
    const cell = el("td", { class: classes(column) });
    if (shown instanceof Node) cell.append(shown);
    else cell.textContent = shown ?? "–";
    return cell;
  });
  const found = el("tr", { tabindex: open ? 0 : null, "aria-selected": chosen && chosen(row) ? "true" : null }, ...cells);
  if (open) {
    found.classList.add("opens");
    found.addEventListener("click", () => open(row));
    found.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target === found) open(row);
    });
  }
  return found;
}

function walk(event) {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target[step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
