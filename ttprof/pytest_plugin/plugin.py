"""The pytest plugin: options and the ``ttprof`` fixture enter, the outcome of each test and the files of the run leave.

Suites that a test makes with the fixture run at its end and decide it; those it makes by itself read the same options.
It is loaded by every pytest run of an environment that has ttprof, so torch is imported only by a test that uses it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ttprof.errors import SuiteFailed, TtprofError, end_at_the_user
from ttprof.pytest_plugin.settings import declare, settings
from ttprof.session import Session, active, current

if TYPE_CHECKING:
    from ttprof.result import CaseResult, SuiteResult
    from ttprof.suite import TestSuite

MARKER = "ttprof: measures modules; every test that uses the ttprof fixture has it, so -m 'not ttprof' leaves them out"
OUTPUTS = ("json", "html")
"""The settings that name a file of ``ttprof.report.outputs``."""


SUBTESTS_DECIDE = hasattr(pytest, "Subtests")
"""Whether a failed subtest fails its test: those of pytest itself do, those of pytest-subtests leave it passed."""


class InconclusiveWarning(UserWarning):
    """A case that could be judged neither way; it fails only where the run is strict."""


class CaseFailed(SuiteFailed):
    """One case of a suite, in a report that names it already."""


class CaseSkipped(Exception):
    """What makes pytest skip: the case that was."""

    def __init__(self, case: CaseResult) -> None:
        super().__init__(case.module_name)
        self.case = case


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every setting."""
    declare(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and the hooks of this run. Paths that can't be used are wrong usage, before any test."""
    config.addinivalue_line("markers", MARKER)
    chosen = settings(config)
    try:
        _check_paths(chosen)
    except TtprofError as error:
        raise pytest.UsageError(f"ttprof: {error}") from error
    config.pluginmanager.register(Runs(config, chosen), "ttprof-runs")


def _check_paths(chosen: Mapping[str, Any]) -> None:
    """Raise ResultFileError for a baseline that can't be read, or a file that can't be written."""
    if chosen["baseline"] is not None:
        from ttprof import baseline

        baseline.read(chosen["baseline"])
    files = {name: chosen[name] for name in OUTPUTS}
    if any(files.values()):
        from ttprof.report import outputs

        outputs.check(files)


@pytest.fixture
def ttprof(request: pytest.FixtureRequest) -> Generator[Suites, None, None]:
    """Make TestSuites: ``ttprof(model, seq_len=512).test(model.attention).expect(latency_ms=5)``.

    The arguments are those of TestSuite. What was not run when the test ends is run then, unless the test raised; each
    case of each suite is an outcome of the test. With ``on_failure="report"`` a suite decides nothing.
    """
    try:
        subtests = request.getfixturevalue("subtests")
    except pytest.FixtureLookupError:
        subtests = None
    suites = request.node.stash[SUITES] = Suites(subtests)  # a new one when the test is run again
    yield suites
    if not request.node.stash.get(RAISED, False):
        suites.conclude_late()


class Suites:
    """The suites of one test."""

    def __init__(self, subtests: Any) -> None:
        self._subtests = subtests
        self._gates: list[TestSuite] = []
        self._reports: list[TestSuite] = []

    def __call__(self, model: Any, **options: Any) -> TestSuite:
        """A new suite of the test; see TestSuite."""
        from ttprof.suite import TestSuite

        with active(replace(current() or Session(), raises=False)):
            suite = TestSuite(model, **options)
        (self._reports if options.get("on_failure") == "report" else self._gates).append(suite)
        return suite

    def conclude(self) -> None:
        """Run what was not run, and report each case; raises SuiteFailed, or skips when nothing was measured."""
        for suite in self._reports:
            suite.finish()
        results = [result for suite in self._gates if (result := suite.finish()) is not None]
        told = [(case, result) for result in results for case in result]
        if self._subtests is not None and len(told) > 1:
            for case, result in told:
                with self._subtests.test(msg=case.module_name):
                    _outcome(case, result)
        if self._subtests is None or len(told) == 1 or not SUBTESTS_DECIDE:
            _fail_at_once([result for result in results if not result.passed])
        _skip_if_all_are_skipped([case for case, _ in told])

    def conclude_late(self) -> None:
        """Run what ``conclude`` did not see: suites of a unittest.TestCase, or of the teardown of another fixture."""
        for suite in self._reports:
            if suite.result is None:
                suite.finish()
        late = [suite.finish() for suite in self._gates if suite.result is None]
        _fail_at_once([result for result in late if result is not None and not result.passed])


SUITES = pytest.StashKey[Suites]()
RAISED = pytest.StashKey[bool]()
"""Whether the body of a test raised: then its suites are not run."""


def _outcome(case: CaseResult, result: SuiteResult) -> None:
    """Raise what makes one case fail or skip."""
    if case.status in result.failing:
        raise _failed(CaseFailed, [result], [case])
    _skip_if_all_are_skipped([case])


def _fail_at_once(failing: Sequence[SuiteResult]) -> None:
    """Raise one error for all cases that fail."""
    cases = [case for result in failing for case in result.failures]
    if cases:
        raise _failed(CaseFailed if len(failing[0]) == 1 == len(cases) else SuiteFailed, failing, cases)


def _failed(kind: type[SuiteFailed], results: Sequence[SuiteResult], cases: Sequence[CaseResult]) -> SuiteFailed:
    """The error of *cases*, which are failures of *results*."""
    from ttprof.report import console

    text = "\n".join([*map(console.case_text, cases), *map(console.where, results)])
    strictest = max(results, key=lambda result: result.strict)
    return kind(text, strictest.only(cases))


def _skip_if_all_are_skipped(cases: Sequence[CaseResult]) -> None:
    from ttprof.report import sentences
    from ttprof.result import Status

    if cases and all(case.status is Status.SKIP for case in cases):
        raise pytest.skip.Exception(sentences.headline(cases[0])) from CaseSkipped(cases[0])


class Runs:
    """The hooks of one pytest run, and the results of its suites so far.

    Under pytest-xdist each worker has one; at its end it sends its results to that of the controller, which reports.
    """

    def __init__(self, config: pytest.Config, chosen: dict[str, Any]) -> None:
        self._config = config
        self._options = Session(
            trace_dir=chosen["trace_dir"],
            strict=chosen["strict"],
            baseline=chosen["baseline"],
            exclusive=self._exclusive,
        )
        self._outputs: dict[str, Path | None] = {name: chosen[name] for name in OUTPUTS}
        self._results: list[SuiteResult] = []
        self._failed: dict[tuple[str, str, str], SuiteResult] = {}
        self._said: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark the tests that use the fixture, before ``-m`` chooses."""
        for item in items:
            if "ttprof" in getattr(item, "fixturenames", ()):
                item.add_marker("ttprof")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Every suite of a test, of the fixture or not, reads the options and is named after the test."""
        session = replace(self._options, name=item.nodeid, results=[], names={})
        with active(session):
            try:
                return (yield)
            finally:
                self._results += session.results

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """After a test that did not raise, its suites decide it."""
        outcome = yield
        try:
            if (suites := pyfuncitem.stash.get(SUITES, None)) is not None:
                suites.conclude()
        except SuiteFailed:
            raise
        except TtprofError as error:  # no line of the user's is at work any more
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        finally:
            _warn_of_inconclusive()
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show the sentence of what failed, and the user's lines instead of those of ttprof."""
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, TtprofError) and not self._config.getoption("fulltrace"):
            end_at_the_user(error)
        report = yield
        if call.when == "call":
            item.stash[RAISED] = not report.passed
        if call.excinfo is not None and isinstance(error, SuiteFailed) and report.failed and error.failures:
            report.longrepr = _shown(call.excinfo, error)
            self._failed.update(_one_by_one(error))
        elif error is not None and isinstance(error.__cause__, CaseSkipped):
            place = _location(error.__cause__.case)
            report.longrepr = (*place, f"Skipped: {error}") if place else report.longrepr
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the results to the controller, or write the files of the run."""
        sent: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if sent is not None:
            results, failed = self._results, list(self._failed.values())
            sent["ttprof"] = {"results": _encoded(results), "failed": _encoded(failed), "said": self._said}
            return
        asked = {n: path for n, path in self._outputs.items() if self._results or self._is_typed(n)}
        if self._config.option.collectonly or not (self._results or any(asked.values())):
            return
        from ttprof.report import github, outputs

        try:
            self._said += outputs.write(self._results, asked)
            github.summarise(self._results, os.environ)
            self._said += github.annotate([*self._failed.values(), *_undecided(self._results)], os.environ)
        except TtprofError as error:
            self._said.append(f"ERROR {error}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _is_typed(self, name: str) -> bool:
        """Whether a setting stands on the command line: what the ini file says is not meant for this run alone."""
        return self._config.getoption(f"ttprof_{name}") is not None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of pytest-xdist has ended: take its results."""
        sent = getattr(node, "workeroutput", {}).get("ttprof")
        if sent is None:
            if any(self._outputs.values()):
                self._said.append(f"ERROR what {node.gateway.id} measured is lost: it ended before it could send it")
            return
        self._results += _decoded(sent["results"])
        self._results.sort(key=lambda result: result.name)
        self._failed |= {(node.gateway.id, "", str(i)): each for i, each in enumerate(_decoded(sent["failed"]))}
        self._said += sent["said"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many cases ended how, which files were written, and tell GitHub."""
        if not self._results and not self._said:
            return
        terminalreporter.section("ttprof")
        if self._results:
            from ttprof.report import sentences

            terminalreporter.write_line(sentences.grand_totals(self._results))
        for line in self._said:
            terminalreporter.write_line(line, red=line.startswith("ERROR"))

    def _exclusive(self, device: str) -> AbstractContextManager[None]:
        from ttprof.system import device_lock

        return device_lock.exclusive(device, self._waiting)

    def _waiting(self, sentence: str) -> None:
        """Show at once that a test waits, where there is a terminal to show it on, and in the summary."""
        running = current()
        self._said.append(f"{running.name if running else 'a suite'} was {sentence}")
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is not None:
            uncaptured: Callable[[], Any] = capture.global_and_fixture_disabled if capture else nullcontext
            with uncaptured():
                reporter.ensure_newline()
                reporter.write_line(f"ttprof: {sentence}")


def _warn_of_inconclusive() -> None:
    """Warn, at its line, of each case that passes though nothing was decided."""
    running = current()
    for result in _undecided(running.results if running is not None else ()):
        from ttprof.report import sentences

        for case in result:
            file, line = _location(case) or (result.name, 1)
            warning = InconclusiveWarning(f"{case.module_name}: {sentences.headline(case)}")
            warnings.warn_explicit(warning, None, file, line)


def _undecided(results: Sequence[SuiteResult]) -> list[SuiteResult]:
    """The results that have cases which pass though nothing was decided, with those alone."""
    return [
        result.only(found)
        for result in results
        if not result.strict and (found := [case for case in result if case.status == "INCONCLUSIVE"])
    ]


def _one_by_one(error: SuiteFailed) -> dict[tuple[str, str, str], SuiteResult]:
    """What a test failed of, case by case, by the suite, the case and its line: a report may repeat another."""
    result: SuiteResult = error.result  # type: ignore[assignment]
    return {(result.name, case.module_name, case.source): result.only([case]) for case in error.failures}


def _encoded(results: Sequence[SuiteResult]) -> list[str]:
    return [result.to_json() for result in results]


def _decoded(texts: Sequence[str]) -> list[SuiteResult]:
    from ttprof.result import decode

    return [decode(text) for text in texts]


def _shown(excinfo: pytest.ExceptionInfo[BaseException], error: SuiteFailed) -> Any:
    """What pytest prints of a failed suite: all its sentences, and in the summary the first, at the test's line."""
    from ttprof.report import sentences

    shown: Any = excinfo.getrepr(style="value")
    failures: list[CaseResult] = error.failures
    first = failures[0]
    reason = ("" if first.status == "FAIL" else f"{first.status}: ") + sentences.headline(first)
    if not isinstance(error, CaseFailed):
        reason = f"{first.module_name}: {reason}" + _others(len(failures) - 1)
    if shown.reprcrash is not None:
        shown.reprcrash.message = reason
        if (place := _location(first)) is not None:
            shown.reprcrash.path, shown.reprcrash.lineno = place
    return shown


def _others(count: int) -> str:
    return f" (and {count} more case{'s' if count > 1 else ''})" if count else ""


def _location(case: CaseResult) -> tuple[str, int] | None:
    from ttprof.report import sentences

    return sentences.location(case)
