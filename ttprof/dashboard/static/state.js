// The state of the page is in the URL fragment, so that links and the Back button work.

export function current() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

export function go(changes) {
  const next = { ...current(), ...changes };
  for (const name of Object.keys(next)) if (next[name] === null || next[name] === undefined) delete next[name];
  const hash = `#${new URLSearchParams(next)}`;
  if (hash !== location.hash) location.hash = hash;
}

export function onChange(listener) {
  addEventListener("hashchange", listener);
}
