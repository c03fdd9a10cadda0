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

from ttprof import rerun
from ttprof.errors import SuiteFailed, TtprofError, end_at_the_user, ending_runs
from ttprof.pytest_plugin import again, settings
from ttprof.pytest_plugin.factory import CaseFailed, CaseSkipped, SuiteFactory
from ttprof.session import Session, active, current
from ttprof.system import signals

if TYPE_CHECKING:
    from ttprof.result import CaseResult, SuiteResult

MARKER = "ttprof: set on every test that uses the ttprof fixture; deselect them with -m 'not ttprof'"
OUTPUTS = ("json", "html")
"""The settings that name an output file, by their format in ``ttprof.report.outputs``."""


class InconclusiveWarning(UserWarning):
    """Warns, at the line of the test, that a case is INCONCLUSIVE: the test passes, although nothing was decided.

    With ``--ttprof-strict`` such a case fails instead. Turn the warning into an error with
    ``-W error::ttprof.pytest_plugin.plugin.InconclusiveWarning``.
    """


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


ENDING = (KeyboardInterrupt, pytest.fail.Exception, pytest.exit.Exception)
"""What ends a test rather than one case of its suite: pytest-timeout raises the second one out of a signal handler."""

SUITES = pytest.StashKey[SuiteFactory]()
BODY_RAISED = pytest.StashKey[bool]()
"""Whether the body of a test raised; its suites then do not run."""


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
            isolate=values["isolate"],
            threshold=values["threshold"],
            confirm_s=values["confirm"],
            exclusive=self._exclusive,
        )
        self._outputs: dict[str, Path | None] = {name: values[name] for name in OUTPUTS}
        self._results: list[SuiteResult] = []
        self._failed: dict[tuple[str, str, str], SuiteResult] = {}
        self._failed_now: dict[tuple[str, str, str], SuiteResult] = {}
        self._signal = 0
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
        self._failed_now = {}
        command = again.command(item)
        repeated = rerun.by(rerun.Again(command, of_test=True)) if command else nullcontext()
        with active(session), repeated, ending_runs(ENDING):
            try:
                return (yield)
            finally:
                self._results += session.results
                self._failed |= self._failed_now

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Forget the earlier attempts of a test that is run again (pytest-rerunfailures)."""
        session = current()
        if session is not None:
            session.results.clear()
            session.names.clear()
        self._failed_now = {}

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note the signal that ended the run, for the exit code."""
        self._signal = signals.number_of(excinfo.value) if isinstance(excinfo.value, signals.Terminated) else 0

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
            self._failed_now.update(_failures_by_case(error))
        elif error is not None and isinstance(error.__cause__, CaseSkipped):
            location = _location(error.__cause__.case)
            report.longrepr = (*location, f"Skipped: {error}") if location else report.longrepr
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the results to the controller, or write the output files of the run."""
        if self._signal:
            session.exitstatus = signals.exit_code(self._signal)
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
                lost = f"ERROR the results of {worker} are missing: it ended before it sent them; see ttprof report RUN"
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
            for failure in (failure for result in self._results for failure in sentences.failure_lines(result)):
                terminalreporter.write_line(failure)  # pytest cuts the lines of its own summary to the terminal
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
