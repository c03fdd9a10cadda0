"""Time until the dashboard is usable: 20 runs of 200 cases, a comparison of two runs, a timeline of 300,000 events.

Serves synthetic runs from a real TensorBoard to a headless Chromium and prints seconds. A pane is usable once it is
drawn and reacts to input: its filter narrows the table, or its timeline zooms. Needs ``.[test]`` and a chromium.

    python benchmarks/dashboard.py
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import results
from playwright.sync_api import Frame, sync_playwright
from tensorboard_server import Server

from ttprof.codes import VerdictCode
from ttprof.result import CaseResult, Measurement
from ttprof.verdict import Status

RUNS, CASES, METRICS, SAMPLES = 20, 200, 8, 60
EVENTS = 300_000


def measurement(rng: np.random.Generator, number: int) -> Measurement:
    """A synthetic time with its samples."""
    samples = (1e6 * (1 + 0.1 * rng.random(SAMPLES))).round().tolist()
    name = "latency_ms" if not number else f"metric_{number}_ms"
    return results.measured(name, samples[0] / 1e6, label=name, samples=samples)


def case(rng: np.random.Generator, number: int, trace: str | None) -> CaseResult:
    """A synthetic case; every fifth fails."""
    status = Status.FAIL if number % 5 == 0 else Status.PASS
    code = VerdictCode.OUTSIDE_LIMIT if status is Status.FAIL else VerdictCode.WITHIN_LIMIT
    verdict = results.verdict(status, code, "synthetic", metric="latency_ms", bound=(None, 1.0))
    trial = results.trial(*(measurement(rng, i) for i in range(METRICS)), trace_path=trace, notes=[], top_ops=[])
    return results.case(f"layers.{number}.attention", status, trial, verdicts=[verdict], module_type="Attention")


def write_large_trace(path: Path) -> None:
    """Write one iteration of nested ops, each of which launches a kernel."""
    events = [
        {"ph": "X", "cat": "user_annotation", "name": "ttprof.iteration#0", "pid": 1, "tid": 1, "ts": 0, "dur": EVENTS}
    ]
    for i in range(EVENTS // 4):
        at = 4 * i
        host = {"ph": "X", "pid": 1, "tid": 1}
        events += [
            {**host, "cat": "cpu_op", "name": f"aten::op{i % 200}", "ts": at, "dur": 3.9},
            {**host, "cat": "cpu_op", "name": "aten::empty", "ts": at + 0.2, "dur": 1},
            {
                **host,
                "cat": "cuda_runtime",
                "name": "cudaLaunchKernel",
                "ts": at + 2,
                "dur": 1,
                "args": {"correlation": i},
            },
            {
                **host,
                "cat": "kernel",
                "name": f"kernel{i % 100}",
                "ts": at + 10,
                "dur": 3,
                "args": {"correlation": i, "device": 0, "stream": 7},
            },
        ]
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode(), 1))


def write_runs(root: Path) -> None:
    """Write the runs; the first case of the last one has the large trace."""
    rng = np.random.default_rng(0)
    for number in range(RUNS):
        folder = root / f"run-{number:02}"
        folder.mkdir()
        trace = folder / "trace.pt.trace.json.gz"
        last = number == RUNS - 1
        if last:
            write_large_trace(trace)
        cases = [case(rng, i, str(trace) if last and not i else None) for i in range(CASES)]
        started = f"2026-11-24T10:{number:02}:00"
        result = results.suite(*cases, name="synthetic", started=started, run_dir=str(folder))
        result.save(folder / "result.json")


def suite_pane(frame: Frame) -> None:
    """Wait for the table of cases, and filter it."""
    frame.wait_for_selector("main[data-ready='suite']")
    frame.get_by_label("Filter cases").fill("layers.123.")
    frame.wait_for_function("document.querySelectorAll(\"table[aria-label='cases'] tbody tr\").length === 1")


def compare_pane(frame: Frame) -> None:
    """Open the comparison of the last two runs, and filter it."""
    frame.evaluate("location.hash = '#pane=compare'")
    frame.wait_for_selector("main[data-ready='compare']")
    frame.get_by_label("Filter cases and metrics").fill("layers.123.")
    frame.wait_for_function("document.querySelectorAll(\"table[aria-label='changes'] tbody tr\").length <= 8")


def timeline_pane(frame: Frame) -> None:
    """Open the timeline, wait until it is drawn, and zoom in."""
    frame.evaluate("location.hash = '#pane=timeline&case=0'")
    frame.wait_for_selector(".timeline[data-drawn]")
    full_window = frame.locator(".timeline").get_attribute("data-window")
    frame.get_by_role("button", name="Zoom in").click()
    frame.wait_for_function("w => document.querySelector('.timeline').dataset.window !== w", arg=full_window)


REDRAW = """() => new Promise((done) => {
  const canvas = document.querySelector('canvas');
  const began = performance.now();
  let frames = 0;
  const step = () => {
    canvas.dispatchEvent(new KeyboardEvent('keydown', { key: frames % 2 ? '+' : '-', bubbles: true }));
    if (++frames < 40) requestAnimationFrame(step);
    else done((performance.now() - began) / frames);
  };
  requestAnimationFrame(step);
})"""


def main() -> None:
    """Print the times."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        write_runs(Path(folder))
        server = Server(folder)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            for visit in ("first", "again"):
                start = time.perf_counter()
                page.goto(f"{server.address}/data/plugin_entry.html?name=ttprof")
                suite_pane(page.main_frame)
                elapsed = time.perf_counter() - start
                print(f"suite pane, {RUNS} runs of {CASES} cases, {visit} visit: {elapsed:.2f} s")
            start = time.perf_counter()
            compare_pane(page.main_frame)
            elapsed = time.perf_counter() - start
            print(f"compare pane, {CASES * METRICS:,} sampled metrics in both runs: {elapsed:.2f} s")
            start = time.perf_counter()
            timeline_pane(page.main_frame)
            print(f"timeline of {EVENTS:,} events, from the file to a zoom: {time.perf_counter() - start:.2f} s")
            page.get_by_role("button", name="See all").click()
            page.locator("canvas").focus()
            print(f"one frame of the timeline, all events in view: {page.evaluate(REDRAW):.1f} ms")
        finally:
            browser.close()
            server.stop()


if __name__ == "__main__":
    main()
