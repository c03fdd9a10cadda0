"""The import rule: a file imports only from a lower rank or its own folder, and few folders import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import ttprof

PACKAGE = Path(ttprof.__file__).parent
RANKS = {
    **dict.fromkeys(("units", "system"), 0),
    **dict.fromkeys(("codes", "least_time", "machine", "operators", "scaling_fit", "slowness"), 1),
    **dict.fromkeys(("thresholds", "trial_key"), 1),
    **dict.fromkeys(("errors", "measurement"), 2),
    **dict.fromkeys(("bounds", "near_miss", "rerun", "verdict"), 3),
    **dict.fromkeys(("nsight", "result", "spec", "trace"), 4),
    **dict.fromkeys(("doctor", "result_file", "trace/formats"), 5),
    **dict.fromkeys(("baseline", "trace/analyses", "trace/scrub"), 6),
    **dict.fromkeys(("observation", "shards"), 7),
    **dict.fromkeys(("plan", "metrics"), 8),
    **dict.fromkeys(("run", "judge", "pooling"), 9),
    **dict.fromkeys(("engine", "dashboard", "merge"), 10),
    **dict.fromkeys(("report", "arguments", "registry"), 11),
    **dict.fromkeys(("applicable", "session", "expectations"), 12),
    **dict.fromkeys(("builder", "running"), 13),
    "suite": 14,
    **dict.fromkeys(("cli", "__init__"), 15),
    **dict.fromkeys(("__main__", "pytest_plugin"), 16),
}
"""The rank of each folder and top-level file, as the tree in CONTRIBUTING.md shows them."""

WITH_TORCH = {
    *("plan", "run", "engine", "arguments", "registry", "builder", "suite"),
    *("judge/numerics.py", "judge/numeric_error.py", "judge/output_leaves.py", "judge/soundness.py"),
}
REPORT_IMPORTS = {
    "codes",
    "measurement",
    "operators",
    "pooling",
    "thresholds",
    "trial_key",
    "baseline",
    "verdict",
    "result",
    "trace",
    "trace/analyses",
    "trace/scrub",
    "judge",
    "machine",
    "nsight",
    "units",
    "errors",
    "system",
}
DRAWING = {"report/html.py", "report/tensorboard.py", "report/notebook.py"}
"""The reports that draw with the dashboard's code; they may import it, and read traces."""

UPWARD = {("result.py", "ttprof.report.notebook")}
"""Imports from a higher rank, inside methods: a result draws itself in a notebook."""


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def folder(dotted: str) -> str:
    """The folder or top-level file of a dotted name below ``ttprof``."""
    first, second = (*dotted.split(".")[1:], "", "")[:2]
    return f"{first}/{second}" if f"{first}/{second}" in RANKS else first


def violations(path: Path) -> list[str]:
    relative = path.relative_to(PACKAGE).as_posix()
    importer = folder("ttprof." + relative.removesuffix(".py").replace("/", "."))
    wrong = []
    for name in imports(path):
        if name.split(".")[0] == "torch" and not {importer, relative} & WITH_TORCH:
            wrong.append(f"{relative} imports torch")
        imported = folder(name)
        if (
            not name.startswith("ttprof.")
            or imported == importer
            or imported not in RANKS
            or (relative, name) in UPWARD
        ):
            continue
        hidden = importer == "report" and imported not in REPORT_IMPORTS and relative not in DRAWING
        if RANKS[imported] >= RANKS[importer] or hidden:
            wrong.append(f"{relative} imports {imported}")
    return wrong


def test_every_file_imports_only_from_below():
    assert [line for path in sorted(PACKAGE.rglob("*.py")) for line in violations(path)] == []


def test_every_folder_and_top_level_file_has_a_rank():
    folders = {
        folder("ttprof." + p.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."))
        for p in PACKAGE.rglob("*.py")
    }
    assert folders == set(RANKS)


def test_reading_traces_and_results_needs_no_torch():
    code = (
        "import sys, ttprof, ttprof.cli.analyze, ttprof.cli.report, ttprof.cli.metrics, ttprof.cli.view;"
        "import ttprof.cli.run, ttprof.cli.ncu_explain, ttprof.cli.doctor, ttprof.pytest_plugin.plugin;"
        "from ttprof import load; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def type_names(path: Path) -> set[str]:
    """The classes and the type aliases of a file; an alias is a capitalised name that is assigned at the top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned = [target.id for target in targets if isinstance(target, ast.Name)]
            names.update(name for name in assigned if name.lstrip("_")[:1].isupper() and not name.isupper())
    return names


def test_a_name_means_one_class_or_type_alias_in_the_whole_package():
    files: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in type_names(path):
            files.setdefault(name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: paths for name, paths in files.items() if len(paths) > 1} == {}
