"""``ttprof analyze``: traces enter, summaries or differences leave, as tables or as JSON. No torch, no GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from ttprof.system.escape import visible
from ttprof.trace.analyses import diff as differences
from ttprof.trace.analyses import ranks, summary
from ttprof.trace.formats import detect, kineto_writer

NARROWEST = 110
"""A terminal that is narrower wraps the lines: a table that is squeezed further would lose numbers."""

CHROME = click.Path(dir_okay=False, path_type=Path)

HELP = """Say what traces hold: of torch.profiler (.json or .json.gz), or of Nsight Systems (.sqlite, .nsys-rep).

\b
ttprof analyze TRACE              steps, device use, kernels, operators, modules, memory; what is missing
ttprof analyze A --diff B         kernels and operators added, removed, slower, faster
ttprof analyze R.nsys-rep --to-chrome R.trace.json.gz    the same recording for Perfetto and TensorBoard
ttprof analyze FOLDER|'*.json.gz' one row for each rank, read on all cores

Exit codes: 0 read; 2 a trace could not be read.
"""


@click.command(name="analyze", help=HELP)
@click.argument("paths", metavar="TRACE...", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/analyze.md): times in ns, sizes in bytes.")
@click.option("--diff", "other", metavar="TRACE", type=click.Path(), help="Compare with this trace.")
@click.option(
    "--to-chrome", metavar="FILE", type=CHROME, help="Write the trace for Perfetto and TensorBoard (.json.gz)."
)
@click.option("--salvage", is_flag=True, help="Read what is whole of a file that breaks off, and say what was lost.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="Rows of each table.")
def command(
    paths: tuple[str, ...], as_json: bool, other: str | None, to_chrome: Path | None, salvage: bool, top: int
) -> None:
    """Choose between one trace, two to compare, and many."""
    if to_chrome is not None and (other is not None or not ranks.is_one_file(paths)):
        raise click.UsageError("--to-chrome writes one trace: ttprof analyze R.sqlite --to-chrome R.trace.json.gz")
    if to_chrome is not None and not to_chrome.name.endswith(".json.gz"):
        raise click.UsageError(f"--to-chrome writes a gzipped trace, {to_chrome.name}: its name has to end in .json.gz")
    if other is not None:
        if not ranks.is_one_file(paths) or not ranks.is_one_file((other,)):
            raise click.UsageError("--diff compares two trace files: ttprof analyze A --diff B")
        _compare(paths[0], other, salvage, top, as_json)
    elif ranks.is_one_file(paths):
        from ttprof.report import trace_summary

        trace = detect.read(paths[0], salvage)
        if to_chrome is not None:
            if to_chrome.exists() and to_chrome.samefile(paths[0]):
                raise click.UsageError(f"--to-chrome would overwrite the recording itself: {to_chrome}")
            kineto_writer.write(trace, to_chrome)
            click.echo(f"wrote {to_chrome}", err=as_json)
        _show(summary.summarise(trace), trace_summary.render, top, as_json)
    else:
        _ranks(paths, salvage, top, as_json)


def _compare(first: str, second: str, salvage: bool, top: int, as_json: bool) -> None:
    from ttprof.report import trace_diff

    found = differences.diff(detect.read(first, salvage), detect.read(second, salvage))
    _show(found, trace_diff.render, top, as_json)


def _ranks(paths: tuple[str, ...], salvage: bool, top: int, as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import track

    from ttprof.report import trace_ranks

    files, watched = ranks.trace_files(paths), Console(stderr=True)
    rows: Iterable[ranks.RankRow] = ranks.read_all(files, salvage)
    quiet = not watched.is_terminal
    rows = track(rows, "reading traces", len(files), console=watched, transient=True, disable=quiet)
    found = ranks.by_rank(list(rows))
    _show(found, trace_ranks.render, top, as_json)
    if found.unreadable:
        sys.exit(2)


def _visible(found: Any) -> Any:
    """What a terminal is given: names come from a file, and may hold what it would obey."""
    if isinstance(found, dict):
        return {key: _visible(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_visible(value) for value in found]
    return visible(found) if isinstance(found, str) else found


def _show(found: Any, render: Any, top: int, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return
    from ttprof.report import console

    out = console.console()
    out.print(render(_visible(msgspec.to_builtins(found)), top), width=max(out.width, NARROWEST), crop=False)
