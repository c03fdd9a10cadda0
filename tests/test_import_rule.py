"""The house's import rule: a file imports only from a lower rank or its own folder; torch stays in a few rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import ttprof

HOUSE = Path(ttprof.__file__).parent
RANKS = {
    **dict.fromkeys(("errors", "units", "process", "device_lock", "visible"), 0),
    **dict.fromkeys(("nsight", "again", "notebooks"), 1),
    **dict.fromkeys(("spec", "trace", "result"), 2),
    **dict.fromkeys(("plan", "metrics", "baseline"), 3),
    **dict.fromkeys(("run", "judge"), 4),
    **dict.fromkeys(("backends", "checks", "growth"), 5),
    **dict.fromkeys(("passes", "dashboard"), 6),
    **dict.fromkeys(("engine", "report"), 7),
    **dict.fromkeys(("session", "builder", "notebook", "pytest_settings"), 8),
    "suite": 9,
    **dict.fromkeys(("cli", "__init__"), 10),
    **dict.fromkeys(("__main__", "pytest_plugin"), 11),
}
WITH_TORCH = {"plan", "run", "checks", "growth", "passes", "engine", "builder", "suite", "judge/numerics.py"}
REPORT_SEES = {"report", "result", "units", "errors"}
DRAWN = {"report/html.py", "report/tensorboard.py"}
"""The reports that are, or hold, what the dashboard draws; they see that too."""


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found += [f"{module}.{a.name}" for a in node.names] if module == "ttprof" else [module]
    return found


def test_every_file_imports_only_from_below():
    wrong = []
    for path in sorted(HOUSE.rglob("*.py")):
        relative = path.relative_to(HOUSE)
        room = relative.parts[0].removesuffix(".py")
        sees = REPORT_SEES | {"dashboard"} if str(relative) in DRAWN else REPORT_SEES
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "torch" and not {room, str(relative)} & WITH_TORCH:
                wrong.append(f"{relative} imports torch")
            if parts[0] != "ttprof" or len(parts) < 2 or parts[1] == room:
                continue
            if RANKS[parts[1]] >= RANKS[room] or (room == "report" and parts[1] not in sees):
                wrong.append(f"{relative} imports {parts[1]}")
    assert wrong == []


def test_reading_traces_and_results_needs_no_torch():
    code = (
        "import sys, ttprof, ttprof.cli.analyze, ttprof.cli.report, ttprof.cli.metrics, ttprof.cli.view;"
        "import ttprof.cli.run, ttprof.cli.ncu_explain, ttprof.pytest_plugin;"
        "from ttprof import load; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
