// Creates DOM elements. Text is only ever set as text, so that no name can be interpreted as HTML.

export function el(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  const { text, on = {}, data = {}, ...rest } = options;
  for (const [name, value] of Object.entries(rest)) {
    if (value === undefined || value === null || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  Object.assign(element.dataset, data);
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  if (text !== undefined && text !== null) element.textContent = String(text);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

export function badge(status) {
  return el("span", { class: `badge ${String(status).toLowerCase().replace(/[^a-z]/g, "-")}`, text: status });
}

export function empty(text) {
  return el("p", { class: "empty", text });
}

export function problem(error) {
  return el("p", { class: "problem", role: "alert", text: error.message || String(error) });
}

export function section(title, ...children) {
  return el("section", {}, el("h2", { text: title }), ...children);
}

export function choice(label, entries, chosen, change) {
  const list = el("select", { on: { change: () => change(list.value) }, "aria-label": label });
  for (const [value, text] of entries) list.append(el("option", { value, text, selected: String(value) === String(chosen) }));
  return el("label", { class: "choice" }, el("span", { text: label }), list);
}

export function facts(pairs) {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("div", {}, el("dt", { text: name }), el("dd", { text: value })));
  }
  return list;
}
