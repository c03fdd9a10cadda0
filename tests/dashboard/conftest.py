"""One TensorBoard and one browser for all dashboard tests, over CPU runs and recorded GPU traces."""

from __future__ import annotations

import shutil
from pathlib import Path

import nsys_files
import pytest
import torch
from browser_tab import Tab
from recorded_runs import recorded_run
from tensorboard_server import Server
from tiny_models import Block

from ttprof import TestSuite
from ttprof.dashboard.runs import LogDirectory

HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'`😀 ../../x " + "n" * 300
HOSTILE_FOLDER = "<img src=x onerror=window.hacked=1> 'quoted' 😀"
RECORDED = ("h100_bert_small", "mi300_resnet_3steps", "h100_qwen05b")


@pytest.fixture(scope="session")
def logs(tmp_path_factory) -> Path:
    """Two CPU runs of one suite (one in a folder with a hostile name), recorded traces, and a broken result."""
    root = tmp_path_factory.mktemp("logs")
    for _ in range(2):
        cpu_suite(root).run()
    first, _ = sorted(root.iterdir())
    first.rename(root / HOSTILE_FOLDER)
    (root / "broken").mkdir()
    (root / "broken" / "result.json").write_text("{nope")
    export = nsys_files.converted(tmp_path_factory.mktemp("nsys"))
    recorded_run(root, "nsight", {"block": export}, "2026-11-24T09:00:00", backend="nsys")
    shared = Path(__file__).parents[3] / "shared" / "traces" / "kineto"
    if shared.is_dir():
        traces = {name: shared / f"{name}.json.gz" for name in RECORDED}
        recorded_run(root, "cuda-1", traces)
        other = {**traces, "h100_bert_small": shared / "mi300_bert_small.json.gz"}
        recorded_run(root, "cuda-2", other, "2026-11-24T11:00:00")
    return root


def cpu_suite(folder: Path) -> TestSuite:
    """Cases that pass, fail, cannot be measured and are skipped; one is swept, one trained, one has a hostile name."""
    torch.manual_seed(0)
    model = Block()
    suite = TestSuite(model, seq_len=16, name="gate", quiet=True, trace_dir=folder, seconds_per_case=0.1)
    suite.test(model.attention).expect(latency_ms=10000, memory_mb=0.001).tolerance(1e-3).profile(1, 12)
    swept = suite.test(model.attention, name="swept").with_seq_lengths([64, 128, 256, 512]).profile(1, 2)
    swept.expect_scaling("quadratic", metric="memory_mb")
    suite.test(model.ffn, name="trained").backward().expect(kernel_time_ms=1).profile(1, 3)
    suite.test(model.ffn, name=HOSTILE).profile(1, 3)
    suite.test(model.ffn, name="skipped").skip("not today")
    return suite


@pytest.fixture(scope="session")
def runs(logs):
    """The runs under the log directory, by folder."""
    return {run.name: run for run in LogDirectory(logs).runs()}


@pytest.fixture(scope="session")
def cpu_run(runs):
    """The CPU run that is still in the folder it was recorded in."""
    return next(run for name, run in runs.items() if name.startswith("gate"))


@pytest.fixture(scope="session")
def cuda_run(runs):
    """The first run of recorded traces."""
    if "cuda-1" not in runs:
        pytest.skip("the recorded GPU traces (../shared/traces) are missing")
    return runs["cuda-1"]


@pytest.fixture(scope="session")
def browser():
    """A headless browser: the ``chromium`` on the PATH."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def tensorboard(logs, browser):
    """The address of a TensorBoard that serves the log directory."""
    server = Server(logs)
    yield server.address
    server.stop()


@pytest.fixture(scope="module")
def dashboard(browser, tensorboard):
    """The TTPROF tab of that TensorBoard."""
    tab = Tab(browser, lambda url: url.hostname == "127.0.0.1" or url.scheme in ("data", "blob"))
    tab.page.goto(f"{tensorboard}/#ttprof")
    tab.frame = tab.page.wait_for_selector("iframe").content_frame()
    tab.frame.wait_for_selector("main[data-ready]")
    yield tab
    tab.close()
