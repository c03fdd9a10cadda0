// The entry that TensorBoard loads: it brings the style into the page, and starts the front end.
import { start } from "./main.js";
import { served } from "./store.js";

export async function render() {
  const here = new URL(".", import.meta.url);
  const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("style.css", here).href });
  const styled = new Promise((resolve) => style.addEventListener("load", resolve));
  document.head.append(style);
  await styled; // charts read their colours from it
  await start(document.body, served(new URL("document", here)));
}
