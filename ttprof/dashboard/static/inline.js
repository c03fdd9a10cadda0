// Runs a script that is embedded gzipped, as base64, which takes less than half the space.

export async function runPacked(element) {
  const packed = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  element.replaceWith(script);
}
