// What is shown, kept in the address after #, so that a link leads to the same place and Back works.

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
