"""The pytest plugin: the ``ttprof`` fixture, the hooks that turn results into test outcomes, and the report files.

Suites made with the fixture run when their test ends, and decide its outcome; suites that a test makes itself use the
same options. Every pytest run in an environment with ttprof loads this file, so it must not import torch by itself.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ttprof.errors import SuiteFailed, TtprofError, end_at_the_user
from ttprof.pytest_plugin import settings
from ttprof.session import Session, active, current

if TYPE_CHECKING:
    from ttprof.result import CaseResult, SuiteResult
    from ttprof.suite import TestSuite

MARKER = "ttprof: set on every test that uses the ttprof fixture; deselect them with -m 'not ttprof'"
OUTPUTS = ("json", "html")
"""The settings that name an output file, by their format in ``ttprof.report.outputs``."""

SUBTESTS_DECIDE = hasattr(pytest, "Subtests")
"""Whether a failed subtest fails its test: true for pytest's own subtests, false for those of pytest-subtests."""


class InconclusiveWarning(UserWarning):
    """Warns, at the line of the test, that a case is INCONCLUSIVE: the test passes, although nothing was decided.

    With ``--ttprof-strict`` such a case fails instead. Turn the warning into an error with
    ``-W error::ttprof.pytest_plugin.plugin.InconclusiveWarning``.
    """


class CaseFailed(SuiteFailed):
    """Raised for a single failed case that pytest's report already names, so the message doesn't."""


class CaseSkipped(Exception):
    """The cause of a pytest skip; it carries the skipped case, so that the report can point at its line."""

    def __init__(self, case: CaseResult) -> None:
        super().__init__(case.module_name)
        self.case = case


class SummaryLine(NamedTuple):
    """A line of the ttprof section at the end of a pytest run; errors are printed in red."""

    text: str
    is_error: bool = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every setting."""
    settings.declare(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and the hooks of this run. An unusable path is a usage error, raised before any test runs."""
    config.addinivalue_line("markers", MARKER)
    values = settings.read(config)
    try:
        _check_paths(values)
    except TtprofError as error:
        raise pytest.UsageError(f"ttprof: {error}") from error
    config.pluginmanager.register(PytestRun(config, values), "ttprof-runs")


def _check_paths(values: Mapping[str, Any]) -> None:
    """Raise ResultFileError for an unreadable baseline or an output file that can't be written."""
    if values["baseline"] is not None:
        from ttprof import baseline

        baseline.read(values["baseline"])
    files = {name: values[name] for name in OUTPUTS}
    if any(files.values()):
        from ttprof.report import outputs

        outputs.check(files)


@pytest.fixture
def ttprof(request: pytest.FixtureRequest) -> Generator[SuiteFactory, None, None]:
    """Make TestSuites: ``ttprof(model, seq_len=512).test(model.attention).expect(latency_ms=5)``.

    It takes the arguments of TestSuite. A suite that has not run when the test ends runs then, unless the test raised.
    Every case is reported as an outcome of the test, except those of suites with ``on_failure="report"``.
    """
    try:
        subtests = request.getfixturevalue("subtests")
    except pytest.FixtureLookupError:
        subtests = None
    suites = request.node.stash[SUITES] = SuiteFactory(subtests)  # a new one if the test is rerun
    yield suites
    if not request.node.stash.get(BODY_RAISED, False):
        suites.conclude_late()


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


SUITES = pytest.StashKey[SuiteFactory]()
BODY_RAISED = pytest.StashKey[bool]()
"""Whether the body of a test raised; its suites then do not run."""


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


class PytestRun:
    """The hooks of one pytest run, with the results of its suites so far.

    Under pytest-xdist every worker has one, and sends its results to the controller's at the end, which reports them.
    """

    def __init__(self, config: pytest.Config, values: dict[str, Any]) -> None:
        self._config = config
        self._session = Session(
            trace_dir=values["trace_dir"],
            strict=values["strict"],
            baseline=values["baseline"],
            exclusive=self._exclusive,
        )
        self._outputs: dict[str, Path | None] = {name: values[name] for name in OUTPUTS}
        self._results: list[SuiteResult] = []
        self._failed: dict[tuple[str, str, str], SuiteResult] = {}
        self._summary: list[SummaryLine] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark the tests that use the fixture, before ``-m`` selects."""
        for item in items:
            if "ttprof" in getattr(item, "fixturenames", ()):
                item.add_marker("ttprof")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Give every suite that a test makes, with the fixture or without, the options and the name of the test."""
        session = replace(self._session, name=item.nodeid, results=[], names={})
        with active(session):
            try:
                return (yield)
            finally:
                self._results += session.results

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Run the suites of a test that did not raise, and let them decide its outcome."""
        outcome = yield
        try:
            if (suites := pyfuncitem.stash.get(SUITES, None)) is not None:
                suites.conclude()
        except SuiteFailed:
            raise
        except TtprofError as error:  # the traceback would show no line of the user's
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        finally:
            _warn_about_inconclusive()
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Replace ttprof's traceback by the reason of the failure, at the user's line."""
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, TtprofError) and not self._config.getoption("fulltrace"):
            end_at_the_user(error)
        report = yield
        if call.when == "call":
            item.stash[BODY_RAISED] = not report.passed
        if call.excinfo is not None and isinstance(error, SuiteFailed) and report.failed and error.failures:
            report.longrepr = _representation(call.excinfo, error)
            self._failed.update(_failures_by_case(error))
        elif error is not None and isinstance(error.__cause__, CaseSkipped):
            location = _location(error.__cause__.case)
            report.longrepr = (*location, f"Skipped: {error}") if location else report.longrepr
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the results to the controller, or write the output files of the run."""
        workeroutput: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if workeroutput is not None:
            workeroutput["ttprof"] = {
                "results": _encode(self._results),
                "failed": _encode(list(self._failed.values())),
                "summary": [tuple(line) for line in self._summary],  # execnet can't serialise named tuples
            }
            return
        wanted = {n: path for n, path in self._outputs.items() if self._results or self._on_command_line(n)}
        if self._config.option.collectonly or not (self._results or any(wanted.values())):
            return
        from ttprof.report import github, outputs

        try:
            written = outputs.write(self._results, wanted)
            self._summary += map(SummaryLine, written.messages)
            for failure in written.failures:
                self._summary.append(SummaryLine(f"ERROR {failure}", is_error=True))
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
            github.summarise(self._results, os.environ)
            failed_or_undecided = [*self._failed.values(), *_inconclusive(self._results)]
            self._summary += map(SummaryLine, github.annotate(failed_or_undecided, os.environ))
        except TtprofError as error:
            self._summary.append(SummaryLine(f"ERROR {error}", is_error=True))
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _on_command_line(self, name: str) -> bool:
        """Whether a setting was given on the command line, for this run, rather than in the ini file."""
        return self._config.getoption(f"ttprof_{name}") is not None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Collect the results of a pytest-xdist worker that has ended."""
        worker: str = node.gateway.id
        output = getattr(node, "workeroutput", {}).get("ttprof")
        if output is None:
            if any(self._outputs.values()):
                lost = f"ERROR the results of {worker} are lost: it exited before sending them"
                self._summary.append(SummaryLine(lost, is_error=True))
            return
        self._results += _decode(output["results"])
        self._results.sort(key=lambda result: result.name)
        self._failed |= {(worker, "", str(i)): result for i, result in enumerate(_decode(output["failed"]))}
        self._summary += [SummaryLine(*line) for line in output["summary"]]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the totals and the lines of the summary, such as the files that were written."""
        if not self._results and not self._summary:
            return
        terminalreporter.section("ttprof")
        if self._results:
            from ttprof.report import sentences

            terminalreporter.write_line(sentences.grand_totals(self._results))
        for line in self._summary:
            terminalreporter.write_line(line.text, red=line.is_error)

    def _exclusive(self, device: str) -> AbstractContextManager[None]:
        from ttprof.system import device_lock

        return device_lock.exclusive(device, self._on_wait)

    def _on_wait(self, message: str) -> None:
        """Report that a test waits for a device: on the terminal at once, if there is one, and in the summary."""
        session = current()
        self._summary.append(SummaryLine(f"{session.name if session else 'a suite'} was {message}"))
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is not None:
            uncaptured: Callable[[], Any] = capture.global_and_fixture_disabled if capture else nullcontext
            with uncaptured():
                reporter.ensure_newline()
                reporter.write_line(f"ttprof: {message}")


def _warn_about_inconclusive() -> None:
    """Issue an InconclusiveWarning, at the line of its test, for each inconclusive case of the current test."""
    session = current()
    for result in _inconclusive(session.results if session is not None else ()):
        from ttprof.report import sentences

        for case in result:
            file, line = _location(case) or (result.name, 1)
            warning = InconclusiveWarning(f"{case.module_name}: {sentences.headline(case)}")
            warnings.warn_explicit(warning, None, file, line)


def _inconclusive(results: Sequence[SuiteResult]) -> list[SuiteResult]:
    """Reduce the results that are not strict to their inconclusive cases; results without any are dropped."""
    return [
        result.only(cases)
        for result in results
        if not result.strict and (cases := [case for case in result if case.status == "INCONCLUSIVE"])
    ]


def _failures_by_case(error: SuiteFailed) -> dict[tuple[str, str, str], SuiteResult]:
    """Split a failure into one result per case, keyed by suite, case and line: pytest may report a case twice."""
    result: SuiteResult = error.result  # type: ignore[assignment]
    return {(result.name, case.module_name, case.source): result.only([case]) for case in error.failures}


def _encode(results: Sequence[SuiteResult]) -> list[str]:
    return [result.to_json() for result in results]


def _decode(texts: Sequence[str]) -> list[SuiteResult]:
    from ttprof.result_file import decode

    return [decode(text) for text in texts]


def _representation(excinfo: pytest.ExceptionInfo[BaseException], error: SuiteFailed) -> Any:
    """Make pytest's representation of a failed suite: the full message, and its first reason for the short summary."""
    from ttprof.report import sentences

    representation: Any = excinfo.getrepr(style="value")
    failures: list[CaseResult] = error.failures
    first = failures[0]
    reason = ("" if first.status == "FAIL" else f"{first.status}: ") + sentences.headline(first)
    if not isinstance(error, CaseFailed):
        reason = f"{first.module_name}: {reason}" + _and_more(len(failures) - 1)
    if representation.reprcrash is not None:
        representation.reprcrash.message = reason
        if (location := _location(first)) is not None:
            representation.reprcrash.path, representation.reprcrash.lineno = location
    return representation


def _and_more(count: int) -> str:
    return f" (and {count} more case{'s' if count > 1 else ''})" if count else ""


def _location(case: CaseResult) -> tuple[str, int] | None:
    from ttprof.report import sentences

    return sentences.location(case)
