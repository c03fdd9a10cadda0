// A table that sorts by any column; rows can be reached and opened with the keyboard.
import { el } from "./dom.js";

const MAX_ROWS = 500;

// columns: {title, value(row): the sort key, show(row): text or element, numeric, tip, wide, named}
export function table(columns, rows, { sort = null, descending = false, open = null, chosen = null, name = "", narrow = false } = {}) {
  let by = sort;
  let down = descending;
  let limit = MAX_ROWS;
  const body = el("tbody");
  const more = el("button", { type: "button", class: "quiet more", on: { click: () => ((limit = Infinity), fill()) } });
  const heads = columns.map((column, i) =>
    el("th", { scope: "col", class: classes(column), title: column.tip, data: { title: column.title } },
      el("button", { type: "button", text: column.title, on: { click: () => order(i) } })));
  const element = el("table", { "aria-label": name }, el("thead", {}, el("tr", {}, ...heads)), body);

  function order(i) {
    down = by === i ? !down : Boolean(columns[i].numeric);
    by = i;
    fill();
  }

  function fill() {
    const ordered = by === null ? rows : [...rows].sort((a, b) => compare(columns[by], a, b, down));
    heads.forEach((head, i) => {
      if (i === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(...ordered.slice(0, limit).map((row) => rowElement(columns, row, open, chosen)));
    more.hidden = ordered.length <= limit;
    more.textContent = `Show all ${ordered.length} rows`;
  }

  body.addEventListener("keydown", moveFocus);
  fill();
  return el("div", { class: narrow ? "scroll narrow" : "scroll" }, element, more);
}

function classes(column) {
  return [column.numeric ? "number" : "", column.wide ? "wide" : "", column.named ? "named" : ""].join(" ").trim() || null;
}

function compare(column, a, b, down) {
  const [x, y] = [column.value(a), column.value(b)];
  if (x === y) return 0;
  if (x === null || x === undefined) return 1; // unmeasured values come last in either direction
  if (y === null || y === undefined) return -1;
  const order = typeof x === "string" ? x.localeCompare(y) : x - y;
  return down ? -order : order;
}

function rowElement(columns, row, open, chosen) {
  const cells = columns.map((column) => {
    const content = column.show ? column.show(row) : column.value(row);
    const cell = el("td", { class: classes(column) });
    if (content instanceof Node) cell.append(content);
    else cell.textContent = content ?? "–";
    return cell;
  });
  const element = el("tr", { tabindex: open ? 0 : null, "aria-selected": chosen && chosen(row) ? "true" : null }, ...cells);
  if (open) {
    element.classList.add("opens");
    element.addEventListener("click", () => open(row));
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target === element) open(row);
    });
  }
  return element;
}

function moveFocus(event) {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target[step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
