// Documents by key, as get(key): fetched from TensorBoard, or read from the page that holds them. Each is read once.
// get.has(key) says whether there is one, get.notes what a page that holds them leaves out.

class Missing extends Error {}

export function served(address) {
  const get = cached(async (key) => {
    const url = new URL(address);
    url.searchParams.set("key", key);
    const response = await fetch(url);
    const found = await response.json();
    if (!response.ok || found.error) throw new Missing(found.error || `the server answered ${response.status}`);
    return found;
  });
  get.has = () => true;
  get.notes = [];
  return get;
}

export function embedded(element) {
  const { documents, aliases, missing, notes } = JSON.parse(element.textContent);
  const has = (key) => Object.hasOwn(documents, key) || Object.hasOwn(aliases, key);
  const get = cached(async (key) => {
    if (has(key)) return documents[aliases[key] || key];
    throw new Missing(missing[key] || "This is not in the report; ttprof view shows it from the folder of the run.");
  });
  get.has = has;
  get.notes = notes;
  return get;
}

function cached(read) {
  const known = new Map();
  return (key) => {
    if (!known.has(key)) {
      const reading = read(key);
      reading.catch(() => known.delete(key));
      known.set(key, reading);
    }
    return known.get(key);
  };
}
