// The entry that TensorBoard loads: it brings the style and plotly into the page, and starts the front end.
import { start } from "./main.js";
import { served } from "./store.js";

export async function render() {
  const here = new URL(".", import.meta.url);
  document.head.append(
    Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("style.css", here).href }),
  );
  await new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("plotly.min.js", here).href;
    script.onload = resolve;
    script.onerror = () => reject(new Error("plotly.min.js could not be loaded"));
    document.head.append(script);
  });
  await start(document.body, served(new URL("document", here)));
}
