"""The GPU kit: checks every metric of a GPU against an independent measure, and writes gpu-report/.

``make gpu`` runs it. The exit code is 0 if everything that ran agrees, 1 if not, and 2 without a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch
from gpu import prepare, reference_traces, report
from gpu.checks import cross_checks
from gpu.comparing import Budget, Outcome, run_checks
from gpu.measuring import Bench
from gpu.programs import ROOT, program_checks

SECONDS = 450.0
"""For all checks: ``make gpu`` shall end within 8 minutes."""

PACKAGES = ("numpy", "triton", "transformers", "nvidia-ml-py", "pytest", "nvtx")
TOOLS = ("nsys", "ncu")


def is_there(need: str) -> bool:
    """Whether a package can be imported or, with a slash in front, a program is on the PATH."""
    if need.startswith("/"):
        return shutil.which(need[1:]) is not None
    return importlib.util.find_spec(need) is not None


def no_device() -> str | None:
    """Why there is nothing to check on this machine; None if there is a GPU."""
    try:
        prepare.check_torch(torch.__version__, torch.version.cuda or torch.version.hip, torch.cuda.is_available())
    except prepare.NotReady as error:
        return str(error)
    return None


def environment(device: torch.device) -> dict[str, str]:
    """The device, and the versions of all that takes part."""
    known = torch.cuda.get_device_properties(device)
    found = {
        "device": f"{known.name}, {known.total_memory / 2**30:.0f} GiB, capability {known.major}.{known.minor}",
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}, HIP {torch.version.hip}",
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "commit": _first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty=+"]),
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    for tool in TOOLS:
        found[tool] = _first_line([tool, "--version"]) if shutil.which(tool) else "not installed"
    found["driver"] = _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return found


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (done.stdout.strip().splitlines() or ["unknown"])[-1]


def progress(outcome: Outcome) -> None:
    """Print one line per check as it ends."""
    off = sum(comparison.outcome == "OFF" for comparison in outcome.comparisons)
    said = f"{len(outcome.comparisons)} comparisons, {off} off" if outcome.state == "ran" else outcome.reason
    print(f"{outcome.check}: {outcome.state}, {said} ({outcome.seconds:.1f} s)", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks and write the report. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "gpu-report")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args(arguments)
    if (reason := no_device()) is not None:
        print(reason, file=sys.stderr)
        return 2
    budget = Budget(options.seconds)
    device = torch.device("cuda", torch.cuda.current_device())
    with tempfile.TemporaryDirectory(prefix="ttprof-gpu-") as folder:
        bench = Bench(device, Path(folder))
        checks = [*cross_checks(bench), *program_checks(bench, budget)]
        outcomes = run_checks(checks, budget, is_there, progress)
        compared = {outcome.check: outcome.comparisons for outcome in outcomes}
        names = reference_traces.private_names()
        traces = reference_traces.save(bench.traces, compared, options.out / "reference", names)
    text = report.markdown(environment(device), outcomes, traces)
    (options.out / "gpu-report.md").write_text(text, encoding="utf-8")
    print(f"\n{report.summary(outcomes)}\nreport: {options.out / 'gpu-report.md'}")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
