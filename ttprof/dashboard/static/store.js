// Documents by key: fetched from TensorBoard, or read from the page that holds them. Each is read once.

class Missing extends Error {}

export function served(address) {
  return cached(async (key) => {
    const url = new URL(address);
    url.searchParams.set("key", key);
    const response = await fetch(url);
    const found = await response.json();
    if (!response.ok) throw new Missing(found.error || `the server answered ${response.status}`);
    return found;
  });
}

export function embedded(element) {
  const { documents, omitted } = JSON.parse(element.textContent);
  const get = cached(async (key) => {
    if (Object.hasOwn(documents, key)) return documents[key];
    throw new Missing(omitted[key] || "this is not in the report; ttprof view shows it from the run's folder");
  });
  get.omitted = omitted;
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
