// A script that a page holds packed: gzip in base64, which takes less than half of the room.

export async function unpacked(element) {
  const packed = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  element.replaceWith(script);
}
