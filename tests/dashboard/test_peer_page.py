"""torch-tb-profiler's trace page draws the traces of ttprof, in a TensorBoard that has both plugins.

That page loads a chart library from one host and a polyfill from another: both requests are answered here, and all
others are blocked. Each TensorBoard gets one trace, because that plugin starts a process per trace.
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
    """Opens the trace view of a log directory and counts the tracks of a kind."""
    polyfill = peer_file("webcomponents.js-0.7.24.tgz", "webcomponents.min.js")
    opened = []

    def count(logdir, kind: str) -> int:
        opened.append(Server(logdir))
        tab = Tab(browser, lambda url: url.hostname == "127.0.0.1" or url.scheme in ("data", "blob"))
        opened.append(tab)
        stubs = (("webcomponents.min.js", polyfill), ("charts/loader.js", CHART_LOADER))
        for name, body in stubs:
            tab.page.route(f"https://**/{name}", answer(body))
        viewer = trace_view(tab.page, opened[0].address)
        viewer.wait_for_selector(f"text=/^{kind} \\d+/")
        assert tab.strayed == []
        return viewer.locator(f"text=/^{kind} \\d+/").count()

    yield count
    for resource in reversed(opened):
        (resource.close if isinstance(resource, Tab) else resource.stop)()


def answer(body: str | bytes):
    return lambda route: route.fulfill(body=body, content_type="text/javascript")


def trace_view(page, address: str):
    page.goto(f"{address}/#pytorch_profiler")
    plugin = page.wait_for_selector("iframe[src*='pytorch_profiler']").content_frame()
    plugin.wait_for_selector("text=Views")
    plugin.locator("[role=button][aria-haspopup=listbox]").nth(1).click()
    plugin.locator("[role=option]", has_text="Trace").click()
    return plugin.wait_for_selector("iframe").content_frame()


def test_the_trace_page_draws_a_cpu_trace(tracks, suite, tmp_path):
    suite.test("attention").profile(1, 3)
    suite.run()
    assert tracks(tmp_path / "traces", "thread") == 1


def test_the_trace_page_draws_a_recorded_cuda_trace(tracks, shared_traces, tmp_path):
    recorded_run(tmp_path / "logs", "cuda", {"bert": shared_traces / "kineto" / "h100_bert_small.json.gz"})
    assert tracks(tmp_path / "logs", "stream") == 1


def test_the_trace_page_draws_a_trace_converted_from_nsight(tracks, tmp_path):
    recorded_run(tmp_path / "logs", "nsight", {"block": nsys_files.converted(tmp_path)}, backend="nsys")
    assert tracks(tmp_path / "logs", "stream") == 1
