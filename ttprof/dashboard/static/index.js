// The entry point that TensorBoard loads: adds the style sheet to the page and starts the front end.
import { start } from "./main.js";
import { served } from "./store.js";

export async function render() {
  const folder = new URL(".", import.meta.url);
  const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("style.css", folder).href });
  const loaded = new Promise((resolve) => style.addEventListener("load", resolve));
  document.head.append(style);
  await loaded; // charts read their colours from it
  await start(document.body, served(new URL("document", folder)));
}
