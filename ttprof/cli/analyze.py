"""``ttprof analyze``: summarises traces, or compares two, without torch or a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from ttprof.cli.output import show, show_json
from ttprof.errors import printable
from ttprof.trace.analyses import diff, ranks, summary
from ttprof.trace.formats import detect, kineto_writer

HELP = """Summarise traces from torch.profiler or Nsight Systems.

TRACE is a .json, .json.gz, .sqlite or .nsys-rep file, a folder of them, or a quoted pattern.

\b
ttprof analyze TRACE          device use, kernels, operators, modules, memory
ttprof analyze A --diff B     kernels and ops added, removed, slower, faster
ttprof analyze FOLDER         one row per trace or rank, read in parallel
ttprof analyze R.nsys-rep --to-chrome R.trace.json.gz
                              convert for Perfetto and TensorBoard

Exit codes: 0 all traces were read; 2 a trace could not be read.
"""


@click.command(name="analyze", help=HELP)
@click.argument("paths", metavar="TRACE...", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON (see docs/analyze.md), in ns and bytes.")
@click.option("--diff", "other", metavar="TRACE", type=click.Path(), help="Compare with this trace.")
@click.option(
    "--to-chrome",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the trace as .json.gz for Perfetto and TensorBoard.",
)
@click.option("--salvage", is_flag=True, help="Read the intact part of a truncated file and report what is lost.")
@click.option("--top", metavar="N", default=10, show_default=True, type=click.IntRange(1), help="Rows per table.")
def command(
    paths: tuple[str, ...], as_json: bool, other: str | None, to_chrome: Path | None, salvage: bool, top: int
) -> None:
    """Summarise one trace, compare two, or list many."""
    if to_chrome is not None:
        _check_conversion(paths, other, to_chrome)
    if other is not None:
        if not ranks.is_one_file(paths) or not ranks.is_one_file((other,)):
            raise click.UsageError("--diff compares two trace files: ttprof analyze A --diff B")
        _diff(paths[0], other, salvage, top, as_json)
    elif ranks.is_one_file(paths):
        _summary(paths[0], to_chrome, salvage, top, as_json)
    else:
        _ranks(paths, salvage, as_json)


def _check_conversion(paths: tuple[str, ...], other: str | None, target: Path) -> None:
    """Raise UsageError unless ``--to-chrome`` has one trace to convert and a file to write."""
    if other is not None or not ranks.is_one_file(paths):
        raise click.UsageError("--to-chrome converts one trace: ttprof analyze R.sqlite --to-chrome R.trace.json.gz")
    if not target.name.endswith(".json.gz"):
        raise click.UsageError(f"--to-chrome writes a gzipped trace: {target.name} must end in .json.gz")
    if target.exists() and Path(paths[0]).exists() and target.samefile(paths[0]):
        raise click.UsageError(f"--to-chrome would overwrite the recording itself: {target}")


def _summary(path: str, to_chrome: Path | None, salvage: bool, top: int, as_json: bool) -> None:
    trace = detect.read(path, salvage)
    if to_chrome is not None:
        kineto_writer.write(trace, to_chrome)
        click.echo(f"wrote {printable(str(to_chrome))}", err=as_json)
    result = summary.summarise(trace)
    if as_json:
        show_json(result)
        return
    from ttprof.report import trace_summary

    show(result, lambda visible: trace_summary.render(visible, top))


def _diff(first: str, second: str, salvage: bool, top: int, as_json: bool) -> None:
    result = diff.diff(detect.read(first, salvage), detect.read(second, salvage))
    if as_json:
        show_json(result)
        return
    from ttprof.report import trace_diff

    show(result, lambda visible: trace_diff.render(visible, top))


def _ranks(paths: tuple[str, ...], salvage: bool, as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import track

    from ttprof.report import trace_ranks

    files, stderr = ranks.trace_files(paths), Console(stderr=True)
    rows: Iterable[ranks.RankRow] = ranks.read_all(files, salvage)
    hidden = not stderr.is_terminal
    rows = track(rows, "reading traces", len(files), console=stderr, transient=True, disable=hidden)
    result = ranks.by_rank(list(rows))
    if as_json:
        show_json(result)
    else:
        show(result, trace_ranks.render)
    if result.unreadable:
        sys.exit(2)
