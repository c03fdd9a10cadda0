// Looks up documents with get(key): fetched from TensorBoard, or read from the page they are embedded in, once each.
// get.has(key) says whether a document exists; get.notes lists the documents that an embedding page leaves out.

class DocumentMissing extends Error {}

export function served(address) {
  const get = cached(async (key) => {
    const url = new URL(address);
    url.searchParams.set("key", key);
    const response = await fetch(url);
    const answer = await response.json();
    if (!response.ok || answer.error) throw new DocumentMissing(answer.error || `the server answered with status ${response.status}`);
    return answer;
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
    throw new DocumentMissing(missing[key] || "this is not in the report; use ttprof view on the folder of the run");
  });
  get.has = has;
  get.notes = notes;
  return get;
}

function cached(read) {
  const cache = new Map();
  return (key) => {
    if (!cache.has(key)) {
      const reading = read(key);
      reading.catch(() => cache.delete(key));
      cache.set(key, reading);
    }
    return cache.get(key);
  };
}
