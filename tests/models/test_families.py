"""All modules of each family are tested: every verdict is the right one, and the model is left as it was found."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import diffusion  # noqa: F401 - registers its families
import multimodal  # noqa: F401 - registers its families
import oracle
import pytest
import signals  # noqa: F401 - registers its families
import snapshot
import torch
from families import FAMILIES, Family

from ttprof import CaseResult, Status, SuiteResult, TestSuite
from ttprof.codes import NoteCode, VerdictCode

TOLERANCE = 1e-3
FAST = ("clip", "deepseek_v3", "dlrm", "lora_by_hand", "weight_norm", "checkpointing", "fsdp2")
"""Families of ``make test``: they need no package but transformers. All are in ``make models``."""

CONTAINERS = (torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.ParameterList, torch.nn.ParameterDict)

every_family = pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.models) for name in FAMILIES]
)


@pytest.fixture(autouse=True)
def one_thread(process_group):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(family: Family) -> SuiteResult:
    inputs = None if family.zero_config else family.inputs
    suite = TestSuite(
        family.model, inputs=inputs, batch_size=2, seq_len=8, quiet=True, on_failure="report", seconds_per_case=0.05
    )
    group = suite.test_all_modules().tolerance(TOLERANCE).profile(1, 2)
    if family.trains:
        group.backward()
    return suite.run()


@every_family
def test_every_verdict_is_right_and_the_model_is_left_as_found(name, in_empty_folder: Path):
    family = FAMILIES[name]()
    before = snapshot.take(family.model, family.inputs)
    result = run(family)
    changed = snapshot.difference(before, snapshot.take(family.model, family.inputs))
    expected = {plain(path): found for path, found in oracle.expectations(FAMILIES[name]()).items()}
    wrong = [line for case in result for line in mistakes(case, expected.get(plain(case.module_name)), family)]
    assert not wrong, "\n".join(wrong)
    assert not changed, "\n".join(changed)


def plain(name: str) -> str:
    """The dotted name without the part that torch.compile adds, and without the number of a second such case."""
    return name.replace("_orig_mod.", "").removesuffix("._orig_mod").partition("#")[0]


def mistakes(case: CaseResult, expected: oracle.Expected | None, family: Family) -> list[str]:
    """What is wrong with the result of one module, in sentences; empty if it is right."""
    codes = {verdict.code for verdict in case.verdicts if verdict.status is not Status.PASS}
    matching = (codes for glob, codes in family.untestable.items() if fnmatch.fnmatchcase(case.module_name, glob))
    right = next(matching, set())
    found = f"{case.module_name} ({case.module_type}) is {case.status}: " + "; ".join(
        f"{v.kind}/{v.code}: {v.reason}" for v in case.verdicts if v.status is not Status.PASS
    )
    if right:
        return [] if codes == right and case.status in (Status.ERROR, Status.SKIP) else [f"{found}; {right}"]
    if expected is None or expected.calls == 0:
        return [] if codes == {VerdictCode.NOT_CALLED} else [f"{found}, but the model does not call it"]
    if expected.reason:
        return [] if codes == {VerdictCode.NO_REFERENCE} else [f"{found}, but in float64 it raises {expected.reason}"]
    right = right_codes(expected, family.trains)
    wrong = [f"{found}, expected {expected}"] if codes not in right else []
    several = any(note.code is NoteCode.SEVERAL_CALLS for trial in case.trials for note in trial.notes)
    if case.status is not Status.ERROR and several is not (expected.calls > 1):
        wrong.append(f"{case.module_name} is called {expected.calls} times, and its notes say otherwise")
    if any(trial.inputs_source != "captured" for trial in case.trials):
        wrong.append(f"{case.module_name} was not tested on the model's inputs")
    return wrong


def right_codes(expected: oracle.Expected, trains: bool) -> list[set[VerdictCode]]:
    """The codes that the verdicts other than PASS may have together.

    A module that differs from itself in float64 is ill-conditioned: that may be noticed, but is never a FAIL.
    """
    if trains and expected.gradient_error is None:
        return [{VerdictCode.NO_GRADIENT}]
    errors = [expected.output_error, expected.gradient_error if trains else None]
    conditioned = all(error is None or error < TOLERANCE / 2 for error in errors)
    return [set()] if conditioned else [set(), {VerdictCode.REFERENCE_UNSTABLE}]
