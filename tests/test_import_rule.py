"""The import rule: a file imports only from a lower rank or its own folder; torch stays in a few folders."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import ttprof

PACKAGE = Path(ttprof.__file__).parent
RANKS = {
    **dict.fromkeys(("units", "system"), 0),
    "codes": 1,
    "errors": 2,
    **dict.fromkeys(("nsight", "trial_key"), 3),
    **dict.fromkeys(("spec", "result", "trace"), 4),
    **dict.fromkeys(("baseline", "trace/formats"), 5),
    "trace/analyses": 6,
    "observation": 7,
    **dict.fromkeys(("plan", "metrics"), 8),
    **dict.fromkeys(("run", "judge"), 9),
    **dict.fromkeys(("engine", "dashboard"), 10),
    "report": 11,
    **dict.fromkeys(("session", "registry"), 12),
    "builder": 13,
    "suite": 14,
    **dict.fromkeys(("cli", "__init__"), 15),
    **dict.fromkeys(("__main__", "pytest_plugin"), 16),
}
"""The rank of each folder and top-level file, as the tree in CONTRIBUTING.md shows them."""

WITH_TORCH = {"plan", "run", "engine", "registry", "builder", "suite", "judge/numerics.py"}
REPORT_SEES = {
    "codes",
    "trial_key",
    "baseline",
    "result",
    "trace",
    "trace/analyses",
    "judge",
    "nsight",
    "units",
    "errors",
    "system",
}
DRAWN = {"report/html.py", "report/tensorboard.py", "report/notebook.py"}
"""The reports that show what the dashboard draws; they may import that, and read traces."""

UPWARD = {("result.py", "ttprof.report.notebook")}
"""Imports from a higher rank, each inside a method: a result in a notebook draws itself."""


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def room(dotted: str) -> str:
    """The folder or top-level file that a dotted name below ``ttprof`` lies in."""
    first, second = (*dotted.split(".")[1:], "", "")[:2]
    return f"{first}/{second}" if f"{first}/{second}" in RANKS else first


def violations(path: Path) -> list[str]:
    relative = path.relative_to(PACKAGE).as_posix()
    here = room("ttprof." + relative.removesuffix(".py").replace("/", "."))
    wrong = []
    for name in imports(path):
        if name.split(".")[0] == "torch" and not {here, relative} & WITH_TORCH:
            wrong.append(f"{relative} imports torch")
        there = room(name)
        if not name.startswith("ttprof.") or there == here or there not in RANKS or (relative, name) in UPWARD:
            continue
        hidden = here == "report" and there not in REPORT_SEES and relative not in DRAWN
        if RANKS[there] >= RANKS[here] or hidden:
            wrong.append(f"{relative} imports {there}")
    return wrong


def test_every_file_imports_only_from_below():
    assert [line for path in sorted(PACKAGE.rglob("*.py")) for line in violations(path)] == []


def test_every_folder_and_top_level_file_has_a_rank():
    here = {
        room("ttprof." + p.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."))
        for p in PACKAGE.rglob("*.py")
    }
    assert here == set(RANKS)


def test_reading_traces_and_results_needs_no_torch():
    code = (
        "import sys, ttprof, ttprof.cli.analyze, ttprof.cli.report, ttprof.cli.metrics, ttprof.cli.view;"
        "import ttprof.cli.run, ttprof.cli.ncu_explain, ttprof.pytest_plugin.plugin;"
        "from ttprof import load; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
