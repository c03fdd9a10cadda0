"""Makes the suites of a test, and turns their results into its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ttprof.errors import SuiteFailed
from ttprof.session import Session, active, current

if TYPE_CHECKING:
    from ttprof.result import CaseResult, SuiteResult
    from ttprof.suite import TestSuite

SUBTESTS_DECIDE = hasattr(pytest, "Subtests")
"""Whether a failed subtest fails its test: true for pytest's own subtests, false for those of pytest-subtests."""


class CaseFailed(SuiteFailed):
    """Raised for a single failed case that pytest's report already names, so the message doesn't."""


class CaseSkipped(Exception):
    """The cause of a pytest skip; it carries the skipped case, so that the report can point at its line."""

    def __init__(self, case: CaseResult) -> None:
        super().__init__(case.module_name)
        self.case = case


class SuiteFactory:
    """Makes the suites of one test, and turns their results into its outcome when it ends."""

    def __init__(self, subtests: Any) -> None:
        self._subtests = subtests
        self._deciding: list[TestSuite] = []
        self._report_only: list[TestSuite] = []

    def __call__(self, model: Any, **options: Any) -> TestSuite:
        """Make a suite; *options* are those of TestSuite."""
        from ttprof.suite import TestSuite

        with active(replace(current() or Session(), raises=False)):
            suite = TestSuite(model, **options)
        (self._report_only if options.get("on_failure") == "report" else self._deciding).append(suite)
        return suite

    def conclude(self) -> None:
        """Run the suites that have not run yet, and report each case.

        Raises SuiteFailed if a case failed, and pytest's Skipped if every case was skipped.
        """
        for suite in self._report_only:
            suite.finish()
        results = [result for suite in self._deciding if (result := suite.finish()) is not None]
        cases = [(case, result) for result in results for case in result]
        if self._subtests is not None and len(cases) > 1:
            for case, result in cases:
                with self._subtests.test(msg=case.module_name):
                    _raise_outcome(case, result)
        if self._subtests is None or len(cases) == 1 or not SUBTESTS_DECIDE:
            _raise_failures([result for result in results if not result.passed])
        _skip_if_all_skipped([case for case, _ in cases])

    def conclude_late(self) -> None:
        """Run the suites that ``conclude`` missed: those of a unittest.TestCase, or of another fixture's teardown."""
        for suite in self._report_only:
            if suite.result is None:
                suite.finish()
        late = [suite.finish() for suite in self._deciding if suite.result is None]
        _raise_failures([result for result in late if result is not None and not result.passed])


def _raise_outcome(case: CaseResult, result: SuiteResult) -> None:
    """Raise the failure or the skip of one case, if it has either."""
    if case.status in result.failing:
        raise _failure(CaseFailed, [result], [case])
    _skip_if_all_skipped([case])


def _raise_failures(failing: Sequence[SuiteResult]) -> None:
    """Raise one error for all failed cases."""
    cases = [case for result in failing for case in result.failures]
    if cases:
        raise _failure(CaseFailed if len(failing[0]) == 1 == len(cases) else SuiteFailed, failing, cases)


def _failure(kind: type[SuiteFailed], results: Sequence[SuiteResult], cases: Sequence[CaseResult]) -> SuiteFailed:
    """Make the error for failed *cases* of *results*."""
    from ttprof.report import console

    text = "\n".join([*map(console.case_text, cases), *map(console.result_line, results)])
    strictest = max(results, key=lambda result: result.strict)
    return kind(text, strictest.only(cases))


def _skip_if_all_skipped(cases: Sequence[CaseResult]) -> None:
    from ttprof.report import sentences
    from ttprof.verdict import Status

    if cases and all(case.status is Status.SKIP for case in cases):
        raise pytest.skip.Exception(sentences.headline(cases[0])) from CaseSkipped(cases[0])
