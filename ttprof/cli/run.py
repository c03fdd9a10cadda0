"""``ttprof run``: scripts enter and are executed as ``__main__``; the results of their suites decide the exit code."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ttprof import baseline as baselines
from ttprof.errors import TtprofError, user_code
from ttprof.report import console, sentences
from ttprof.session import Session, active


@click.command(name="run")
@click.argument("script", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trace-dir", type=click.Path(file_okay=False, path_type=Path), help="Where runs leave their files.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Compare every suite with this baseline.")
@click.option("--strict", is_flag=True, default=None, help="Let INCONCLUSIVE fail too.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML report of all suites.")
@click.option("-q", "--quiet", is_flag=True, help="Print only failures and totals.")
def command(
    script: tuple[Path, ...],
    trace_dir: Path | None,
    baseline: Path | None,
    strict: bool | None,
    html: Path | None,
    quiet: bool,
) -> None:
    """Run scripts that hold test suites.

    Every suite of every script runs, whatever failed before it. The exit code is 0 when all passed, and 1 when a
    case failed or could not be judged, when a script raised, or when no suite ran at all.
    """
    failed = False
    if baseline is not None:
        baselines.read(baseline)  # before anything runs, so that a wrong path costs nothing
    with active(Session(trace_dir, strict, baseline, quiet)) as session:
        for path in script:
            before = len(session.results)
            failed |= not _run(path)
            if len(session.results) == before:
                click.echo(f"ttprof: {path} ran no TestSuite", err=True)
                failed = True
    for result in session.results:
        if quiet and not result.passed:
            click.echo(console.failure_text(result))
        click.echo(f"{result.name}: {sentences.totals(result)}")
    if html is not None and session.results:
        from ttprof.report import html as report

        click.echo(f"wrote {report.write(session.results, html)}")
    sys.exit(1 if failed or not all(result.passed for result in session.results) else 0)


def _run(path: Path) -> bool:
    """Execute one script as ``__main__`` with its own folder first on the path; whether it ended well."""
    with _script_environment(path):
        try:
            with user_code(str(path)):
                runpy.run_path(str(path), run_name="__main__")
        except TtprofError as error:
            traceback.print_exception(error.__cause__ or error)
            click.echo(f"ttprof: {error}", err=True)
            return False
        except SystemExit as stop:
            return stop.code in (None, 0)
    return True


@contextmanager
def _script_environment(path: Path) -> Iterator[None]:
    """sys.argv and sys.path as ``python SCRIPT`` would set them."""
    argv, paths = sys.argv[:], sys.path[:]
    sys.argv = [str(path)]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, paths
