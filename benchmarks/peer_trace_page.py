"""Whether torch-tb-profiler's own trace page draws the traces of ttprof, with its two files from a CDN served locally.

A log directory and the folder of the npm package ``webcomponents.js@0.7.24`` enter; the number of tracks that the trace
viewer drew, and a picture of it, leave. The chart loader is a stub: the trace page only waits for it. Everything else
that would leave the machine is refused and printed.

    npm pack webcomponents.js@0.7.24 && tar xzf webcomponents.js-0.7.24.tgz
    python benchmarks/peer_trace_page.py traces package page.png
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from playwright.sync_api import Page, Route, sync_playwright
from tensorboard_server import Server

CHART_LOADER = """
const nothing = new Proxy(function () {}, { get: (_, name) => (name === Symbol.toPrimitive ? () => 0 : nothing),
                                            apply: () => nothing, construct: () => nothing });
window.google = { charts: { load() {}, setOnLoadCallback: (ready) => ready() }, visualization: nothing };
"""
DEADLINE_MS = 30_000


def serve(page: Page, package: Path, strayed: list[str]) -> None:
    """Answer what the page asks two other hosts for from here, and refuse the rest."""

    def answer(route: Route) -> None:
        url = route.request.url
        if url.startswith(("http://127.0.0.1", "data:", "blob:")):
            route.continue_()
        elif url.endswith("/webcomponents.min.js"):
            route.fulfill(path=package / "webcomponents.min.js", content_type="text/javascript")
        elif url.endswith("/charts/loader.js"):
            route.fulfill(body=CHART_LOADER, content_type="text/javascript")
        else:
            strayed.append(url)
            route.abort()

    page.route("**/*", answer)


def trace_page(page: Page, address: str) -> int:
    """Open the trace view of the first run; the number of its tracks once there are some."""
    page.goto(f"{address}/#pytorch_profiler")
    plugin = page.wait_for_selector("iframe[src*='pytorch_profiler']", timeout=DEADLINE_MS).content_frame()
    plugin.wait_for_selector("text=Views", timeout=DEADLINE_MS)
    plugin.locator("[role=button][aria-haspopup=listbox]").nth(1).click(timeout=DEADLINE_MS)
    plugin.locator("[role=option]", has_text="Trace").click()
    viewer = plugin.wait_for_selector("iframe", timeout=DEADLINE_MS).content_frame()
    viewer.wait_for_selector("text=/thread \\d+/", timeout=DEADLINE_MS)
    return viewer.locator("text=/^(thread|stream) \\d+/").count()


def main() -> None:
    """Print what was seen."""
    logdir, package, picture = (Path(argument) for argument in sys.argv[1:4])
    server = Server(logdir)
    strayed: list[str] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            serve(page, package, strayed)
            try:
                print(f"the trace viewer drew {trace_page(page, server.address)} tracks")
            finally:
                page.screenshot(path=picture)
                browser.close()
    finally:
        server.stop()
    print("refused:", ", ".join(sorted(set(strayed))) or "nothing")


if __name__ == "__main__":
    main()
