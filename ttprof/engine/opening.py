"""Opens a run: plans its cases for the journal, and checks that a run that is resumed is the same.

What is compared are the settings as text, so that a refusal can name them.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import re
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ttprof.baseline import Baseline
from ttprof.engine import journal as journals
from ttprof.engine.events import Opened, PlannedCase, Resumed
from ttprof.engine.journal import Journal
from ttprof.errors import SpecError, is_users
from ttprof.judge.environments import hardware_differences, software_differences
from ttprof.plan import state
from ttprof.result import Environment
from ttprof.shards import ShardLabel
from ttprof.spec import CaseSpec, SuiteSpec
from ttprof.system.escape import visible

MAX_FOLDER_NAME = 100
"""Maximum number of characters of a suite's or a case's name in the name of its folder."""

UNWRITABLE = frozenset({errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EDQUOT})
"""What keeps a folder from being written without being a mistake in the script."""

NOT_A_SETTING = frozenset(
    {"name", "source", "path", "limits", "kernel_budgets", "scaling", "sweeps", "thresholds", "left_out"}
)
"""Fields of a case that are compared elsewhere, or that may change without changing what is measured."""


def new_run(suite: SuiteSpec, opened: Opened) -> Journal:
    """Create a folder for a run alone, and its journal in it.

    If ``trace_dir`` can't be written (read-only, full, not permitted), the folder is a temporary one, and the journal
    says so. Raises SpecError if it names no folder.
    """
    started = datetime.fromisoformat(opened.started)
    name, problem = f"{file_name(suite.name)}-{started:%Y%m%d-%H%M%S}", ""
    try:
        folder = _new_folder(suite.trace_dir, name)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise SpecError(f"trace_dir={str(suite.trace_dir)!r}: {error.strerror or error}") from error
        folder = _temporary_folder(name)
        problem = f"trace_dir={str(suite.trace_dir)!r}: {error.strerror or error}, so this run is in {folder}"
    journal = Journal.create(folder, opened)
    journal.claim()
    journal.problem = problem or journal.problem
    return journal


def resumed_run(folder: Path, opened: Opened) -> Journal:
    """Go on with the run in *folder*.

    Raises:
        SpecError: it is a run of another suite, on another machine, or of another commit.
        ResultFileError: its journal can't be read or written, or another process works on it.
    """
    journal = journals.read(folder)
    unlike = _differences(journal.opened, opened)
    if unlike:
        shown = "; ".join(unlike[:3]) + (f"; and {len(unlike) - 3} more" if len(unlike) > 3 else "")
        raise SpecError(f"{folder} can't be resumed, because this is another run: {shown}")
    journal.claim()
    resumed = journals.resume(folder)
    resumed.take_claim(journal)
    resumed.add(Resumed(at=opened.started))
    return resumed


def taken_over(journal: Journal) -> str:
    """A sentence on what a resumed run takes over from before."""
    cases = journal.cases.values()
    final = sum(case.final for case in cases)
    timed = sum(case.timed is not None and not case.final for case in cases)
    parts = [f"{final} of {len(cases)} cases are taken over"]
    parts += [f"{timed} more only have to be recorded"] if timed else []
    return f"resuming {journal.folder}, begun {journal.opened.started}: {', '.join(parts)}"


def plan(
    suite: SuiteSpec, backend: str, baseline: Baseline | None, shard: ShardLabel | None, environment: Environment
) -> Opened:
    """The first event of a run of *suite*."""
    return Opened(
        suite=suite.name,
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
        environment=environment,
        cases=[_planned(case) for case in suite.cases],
        settings={
            "model": _described(suite.model),
            "batch_size": str(suite.batch_size),
            "seq_len": str(suite.seq_len),
            "inputs": visible(_described(suite.inputs)),
            "seed": str(suite.seed),
        },
        code=_code(),
        strict=suite.strict,
        threshold=suite.baseline_threshold,
        backend=backend,
        baseline=baseline,
        shard=shard,
    )


def _code() -> str:
    """A hash of the user's source files that this process imported: those of a commit with changes differ.

    Their paths do not count, and neither do installed packages, whose versions are compared.
    """
    imported = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    paths = {Path(file) for file in imported if isinstance(file, str) and is_users(file) and "-packages" not in file}
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()]
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()[:16]


def _planned(case: CaseSpec) -> PlannedCase:
    defaults = {field.name: field.default for field in dataclasses.fields(CaseSpec)}
    settings = {
        name: visible(_described(value))
        for name, value in ((name, getattr(case, name)) for name in defaults if name not in NOT_A_SETTING)
        if value is not defaults[name]
    }
    return PlannedCase(
        name=case.name,
        module_type="" if case.module is None else type(state.uncompiled(case.module)).__name__,
        source=visible(str(case.source)),
        expected=case.expected,
        settings=settings,
    )


def _described(value: Any) -> str:
    """*value* as text that is the same in every process: without addresses, and without the values of tensors."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {list(value.shape)}".removeprefix("torch.")
    if isinstance(value, nn.Module):
        elements = sum(parameter.numel() for parameter in value.parameters() if not is_lazy(parameter))
        return f"{type(value).__name__} with {elements} parameters"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_described(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(_described, value)) + ")"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return f"{type(value).__name__} {_described(fields)}"
    if value is None or isinstance(value, (str, int, float, torch.dtype, torch.device)):
        return str(value)
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _differences(before: Opened, now: Opened) -> list[str]:
    """What distinguishes two runs: the suite, its cases, what judges them, the machine, the software and the commit."""
    software = ("commit", before.environment.git_commit, now.environment.git_commit)
    pairs = [("suite", before.suite, now.suite), ("backend", before.backend, now.backend), software]
    pairs += [("threshold", str(before.threshold), str(now.threshold))]
    pairs += [("strict", str(before.strict), str(now.strict)), ("shard", _shard(before), _shard(now))]
    unlike = [f"its {name} was {a}, and is {b}" for name, a, b in pairs if a != b]
    if before.baseline != now.baseline:
        unlike.append(f"its baseline was {_origin(before.baseline)}, and is {_origin(now.baseline)}")
    unlike += hardware_differences(before.environment, now.environment)
    unlike += software_differences(before.environment, now.environment)
    unlike += _unlike_settings("its ", before.settings, now.settings)
    cases = {case.name: case for case in before.cases}
    for case in now.cases:
        other = cases.pop(case.name, None)
        if other is None:
            unlike.append(f"it has no case {case.name!r}")
        elif other.expected != case.expected:
            unlike.append(f"case {case.name!r} had other expectations")
        else:
            unlike += _unlike_settings(f"case {case.name!r}: ", other.settings, case.settings)
    unlike += [f"this suite has no case {name!r}" for name in cases]
    if before.code != now.code and not unlike:
        unlike.append("a source file that the script imports, or the script itself, has changed since")
    return unlike


def _shard(opened: Opened) -> str:
    return "all cases" if opened.shard is None else opened.shard.shard


def _origin(baseline: Baseline | None) -> str:
    """A baseline as text; two that differ may read the same."""
    return "none" if baseline is None else f"{baseline.name} of {baseline.started}"


def _unlike_settings(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = dict.fromkeys((*before, *now))
    return [
        f"{what}{name} was {before.get(name, 'not set')}, and is {now.get(name, 'not set')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _new_folder(parent: Path, name: str) -> Path:
    """Create a folder for this run alone. Raises OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}~{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def _temporary_folder(name: str) -> Path:
    """Create a folder for this run among the temporary files. Raises SpecError."""
    try:
        return Path(tempfile.mkdtemp(prefix=f"ttprof-{name}-"))
    except OSError as error:
        raise SpecError(
            f"neither trace_dir nor a temporary folder can be written: {error.strerror or error}"
        ) from error


def file_name(name: str) -> str:
    """*name* reduced to characters that every file system allows."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:MAX_FOLDER_NAME] or "unnamed"


def folder_names(cases: tuple[CaseSpec, ...]) -> dict[str, str]:
    """A unique folder name for each case by its name, safe on every file system."""
    names: dict[str, str] = {}
    for case in cases:
        plain = file_name(case.name)
        count = sum(name == plain or name.startswith(plain + "~") for name in names.values())
        names[case.name] = f"{plain}~{count + 1}" if count else plain
    return names
