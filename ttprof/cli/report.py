"""``ttprof report``: shows saved results, without torch or a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from ttprof.cli.output import write_files
from ttprof.engine import journal as journals
from ttprof.engine.judging import SuiteJudge
from ttprof.judge import verify
from ttprof.report import console
from ttprof.report.trace_cells import counted
from ttprof.result import JOURNAL_FILE, RESULT_FILE, SuiteResult
from ttprof.result_file import load_all

OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command(name="report")
@click.argument("result", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="Print only failures and totals.")
@click.option("--svg", type=OUTPUT, help="Write the tables as an SVG picture.")
@click.option("--junit", type=OUTPUT, help="Write all results as JUnit XML.")
@click.option("--html", type=OUTPUT, help="Write all results as one HTML page that needs no server.")
@click.option("--verify", is_flag=True, help="Judge limits and scalings again from the saved samples.")
def command(
    result: tuple[Path, ...], quiet: bool, svg: Path | None, junit: Path | None, html: Path | None, verify: bool
) -> None:
    """Show saved results.

    Each RESULT is a run folder, its result.json, or a file with several results (ttprof run --json). Of a run that did
    not end (killed, crashed, or still running) what its journal holds is judged and shown.

    Exit codes: 0 all passed; 1 a result did not pass, or --verify reached a different verdict (the file or the rules
    have changed); 2 wrong usage or unreadable input.
    """
    results = [loaded for path in result for loaded in _load(path)]
    out = console.console() if svg is None else console.drawing()
    for loaded in results:
        if quiet:
            click.echo(console.brief(loaded))
        if svg is not None or not quiet:
            out.print(console.render(loaded, out.width))
    complete = write_files(results, {"junit": junit, "html": html})
    if svg is not None:
        console.save_svg(out, svg)
        click.echo(f"wrote {svg}")
    confirmed = [_verify(loaded) for loaded in results] if verify else []
    if not complete:
        sys.exit(2)
    sys.exit(0 if all(confirmed) and all(loaded.passed for loaded in results) else 1)


def _load(path: Path) -> list[SuiteResult]:
    """The results in a file or in a run folder; a run that wrote no result, or goes on, is judged from its journal."""
    if not path.is_dir():
        return [_contained(result, path) for result in load_all(path)]
    if not (path / JOURNAL_FILE).exists() or (path / RESULT_FILE).exists():
        return load_all(path / RESULT_FILE)
    journal = journals.read(path)
    if (running := journal.running) is not None:
        phase = journal.cases[running].phase
        during = f" ({phase})" if phase else ""
        go_on = f"if it has ended, ttprof run --resume {path} SCRIPT measures the rest"
        click.echo(f"ttprof: the run has no result yet; {running}{during} was under way last; {go_on}", err=True)
    if journal.problem:
        click.echo(f"ttprof: {journal.problem}", err=True)
    return [SuiteJudge(journal).result()]


def _contained(result: SuiteResult, file: Path) -> SuiteResult:
    """A result of a file, which must not make an HTML report read traces wherever it likes: only near it, or here."""
    folder = Path(result.run_dir).resolve()
    if any(folder.is_relative_to(near.resolve()) for near in (file.parent, Path.cwd())):
        return result
    click.echo(f"ttprof: {file}: traces in {folder} are left out; give the folder of the run to see them", err=True)
    return msgspec.structs.replace(result, run_dir="")


def _verify(result: SuiteResult) -> bool:
    """Judge a result again and print the differences. Returns whether there are none."""
    check = verify.check(result)
    for difference in check.differences:
        click.echo(f"not confirmed: {difference}")
    outcome = "CHANGED" if check.differences else "confirmed"
    rest = f"; {check.left} more would need tensors, traces or another run" if check.left else ""
    click.echo(f"{result.name}: {outcome}: {counted(check.judged, 'verdict')} judged again{rest}")
    return not check.differences
