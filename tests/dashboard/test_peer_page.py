"""torch-tb-profiler's own trace page draws what ttprof leaves, in a TensorBoard where it stands beside ours.

That page waits for the chart loader of one host and loads a polyfill from another: both are answered here, and whatever
else would leave the machine is refused. One trace for each TensorBoard, since that plugin starts a process for each.
"""

from __future__ import annotations

import nsys_files
import pytest
from browser_tab import Tab
from peers import peer_file
from recorded_runs import recorded_run
from tensorboard_server import Server

CHART_LOADER = """
const nothing = new Proxy(function () {}, { get: (_, name) => (name === Symbol.toPrimitive ? () => 0 : nothing),
                                            apply: () => nothing, construct: () => nothing });
window.google = { charts: { load() {}, setOnLoadCallback: (ready) => ready() }, visualization: nothing };
"""


@pytest.fixture
def tracks(browser):
    """Opens the trace view over a log directory, and counts the tracks of a kind that it drew."""
    polyfill = peer_file("webcomponents.js-0.7.24.tgz", "webcomponents.min.js")
    opened = []

    def count(logdir, wanted: str) -> int:
        opened.append(Server(logdir))
        tab = Tab(browser, lambda url: url.hostname == "127.0.0.1" or url.scheme in ("data", "blob"))
        opened.append(tab)
        served = (("webcomponents.min.js", polyfill), ("charts/loader.js", CHART_LOADER))
        for name, body in served:
            tab.page.route(f"https://**/{name}", answer(body))
        viewer = trace_view(tab.page, opened[0].address)
        viewer.wait_for_selector(f"text=/^{wanted} \\d+/")
        assert tab.strayed == []
        return viewer.locator(f"text=/^{wanted} \\d+/").count()

    yield count
    for each in reversed(opened):
        (each.close if isinstance(each, Tab) else each.stop)()


def answer(body: str | bytes):
    return lambda route: route.fulfill(body=body, content_type="text/javascript")


def trace_view(page, address: str):
    page.goto(f"{address}/#pytorch_profiler")
    plugin = page.wait_for_selector("iframe[src*='pytorch_profiler']").content_frame()
    plugin.wait_for_selector("text=Views")
    plugin.locator("[role=button][aria-haspopup=listbox]").nth(1).click()
    plugin.locator("[role=option]", has_text="Trace").click()
    return plugin.wait_for_selector("iframe").content_frame()


def test_the_peers_trace_page_draws_a_trace_of_a_cpu(tracks, suite, tmp_path):
    suite.test("attention").profile(1, 3)
    suite.run()
    assert tracks(tmp_path / "traces", "thread") == 1


def test_the_peers_trace_page_draws_a_recorded_trace_of_cuda(tracks, shared_traces, tmp_path):
    recorded_run(tmp_path / "logs", "cuda", {"bert": shared_traces / "kineto" / "h100_bert_small.json.gz"})
    assert tracks(tmp_path / "logs", "stream") == 1


def test_the_peers_trace_page_draws_a_trace_converted_from_nsight(tracks, tmp_path):
    recorded_run(tmp_path / "logs", "nsight", {"block": nsys_files.converted(tmp_path)}, backend="nsys")
    assert tracks(tmp_path / "logs", "stream") == 1
