"""``ttprof analyze``: summarises traces, or compares two, without torch or a GPU."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ttprof.cli.output import S, parse_share, show, show_json, show_markdown
from ttprof.errors import printable
from ttprof.trace import step_names
from ttprof.trace.analyses import diff, ranks, summary
from ttprof.trace.events import Trace
from ttprof.trace.formats import detect, kineto_writer

if TYPE_CHECKING:
    from rich.console import RenderableType

HELP = """Summarise traces from torch.profiler or Nsight Systems.

TRACE is a .json, .sqlite or .nsys-rep file, a folder of them, or a quoted pattern. It may be
packed (.gz, .zip, .tar, .xz, .bz2, .zst); - is standard input.

\b
ttprof analyze TRACE          device use, kernels, operators, modules, memory
ttprof analyze A --diff B     kernels and ops added, removed, slower, faster
ttprof analyze A --diff B --fail-over 5%
                              exit with 1 if B's steps or kernels take longer
ttprof analyze FOLDER         one row per trace or rank, read in parallel
ttprof analyze R.nsys-rep --to-chrome R.trace.json.gz
                              convert for Perfetto and TensorBoard

Exit codes: 0 all traces were read; 1 more than --fail-over; 2 a trace could not be read, or
is too incomplete to be judged.
"""


def _as_pattern(ctx: click.Context, param: click.Parameter, value: str | None) -> re.Pattern[str] | None:
    """A regular expression, in any case."""
    try:
        return None if value is None else re.compile(value, re.IGNORECASE)
    except re.error as error:
        raise click.BadParameter(f"{value!r} is no regular expression: {error}", ctx, param) from error


@dataclass(frozen=True)
class _Options:
    """The options that all forms of the command have."""

    as_json: bool
    as_markdown: bool
    salvage: bool
    top: int
    fail_over: float | None
    communication: re.Pattern[str] | None
    steps_glob: str | None

    def show(self, struct: S, render: Callable[[S], RenderableType]) -> None:
        """Print what was computed in the format that was asked for."""
        if self.as_json:
            show_json(struct)
        else:
            (show_markdown if self.as_markdown else show)(struct, render)


@click.command(name="analyze", help=HELP)
@click.argument("paths", metavar="TRACE...", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON (see docs/analyze.md), in ns and bytes.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.option("--diff", "other", metavar="TRACE", type=click.Path(), help="Compare with this trace.")
@click.option(
    "--fail-over",
    metavar="SHARE",
    callback=parse_share,
    help="With --diff: exit with 1 if the step or the kernel time grew by more, for example 5%.",
)
@click.option(
    "--communication",
    metavar="REGEX",
    callback=_as_pattern,
    help="Kernels with such a name, too, move data between devices (NCCL's and others are known).",
)
@click.option(
    "--steps",
    "steps_glob",
    metavar="GLOB",
    help="The annotations that are steps, for example 'step[[]*' (default: ProfilerStep#, or ranges that repeat).",
)
@click.option(
    "--to-chrome",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the trace as .json.gz for Perfetto and TensorBoard.",
)
@click.option("--salvage", is_flag=True, help="Read the intact part of a truncated file and report what is lost.")
@click.option("--top", metavar="N", default=10, show_default=True, type=click.IntRange(1), help="Rows per table.")
def command(paths: tuple[str, ...], other: str | None, to_chrome: Path | None, **options: Any) -> None:
    """Summarise one trace, compare two, or list many."""
    chosen = _Options(**options)
    if chosen.as_json and chosen.as_markdown:
        raise click.UsageError("--json and --markdown are two formats: choose one")
    if chosen.fail_over is not None and other is None:
        raise click.UsageError("--fail-over compares two traces: ttprof analyze A --diff B --fail-over 5%")
    if to_chrome is not None:
        _check_conversion(paths, other, to_chrome)
    if other is not None:
        if not ranks.is_one_file(paths) or not ranks.is_one_file((other,)):
            raise click.UsageError("--diff compares two trace files: ttprof analyze A --diff B")
        _diff(paths[0], other, chosen)
    elif ranks.is_one_file(paths):
        _summary(paths[0], to_chrome, chosen)
    else:
        _ranks(paths, chosen)


def _check_conversion(paths: tuple[str, ...], other: str | None, target: Path) -> None:
    """Raise UsageError unless ``--to-chrome`` has one trace to convert and a file to write."""
    if other is not None or not ranks.is_one_file(paths):
        raise click.UsageError("--to-chrome converts one trace: ttprof analyze R.sqlite --to-chrome R.trace.json.gz")
    if not target.name.endswith(".json.gz"):
        raise click.UsageError(f"--to-chrome writes a gzipped trace: {target.name} must end in .json.gz")
    if target.exists() and Path(paths[0]).exists() and target.samefile(paths[0]):
        raise click.UsageError(f"--to-chrome would overwrite the recording itself: {target}")


def _summary(path: str, to_chrome: Path | None, options: _Options) -> None:
    trace = detect.read(path, options.salvage)
    if to_chrome is not None:
        kineto_writer.write(trace, to_chrome)
        click.echo(f"wrote {printable(str(to_chrome))}", err=options.as_json)
    result = summary.summarise(trace, options.communication, options.steps_glob)
    _check_steps(trace, result.steps_rule, options)
    from ttprof.report import trace_summary

    options.show(result, lambda visible: trace_summary.render(visible, options.top))


def _check_steps(trace: Trace, rule: str | None, options: _Options) -> None:
    """Raise UsageError if --steps matches no annotation of a trace."""
    if options.steps_glob is not None and rule is None:
        counts = Counter(step_names.family(name) for name in trace.name_of(trace.annotations))
        named = ", ".join(f"{name} ×{count}" for name, count in counts.most_common(5)) or "none at all"
        raise click.UsageError(
            f"--steps: no annotation of {printable(trace.path)} is called {options.steps_glob!r}; its annotations are "
            f"{printable(named)}"
        )


def _diff(first: str, second: str, options: _Options) -> None:
    one, two = (detect.read(path, options.salvage) for path in (first, second))
    result = diff.diff(one, two, options.steps_glob)
    for trace, count in zip((one, two), result.steps, strict=True):
        _check_steps(trace, options.steps_glob if count else None, options)
    from ttprof.report import trace_diff

    options.show(result, lambda visible: trace_diff.render(visible, options.top))
    if options.fail_over is None:
        return
    if any(result.incomplete):
        click.echo("ttprof: not judged by --fail-over: a trace is incomplete, or has impossible records", err=True)
        sys.exit(2)
    grown = diff.grown(result, options.fail_over)
    if grown:
        click.echo(f"ttprof: {trace_diff.growth(grown, diff.causes(result), options.fail_over)}", err=True)
        sys.exit(1)


def _ranks(paths: tuple[str, ...], options: _Options) -> None:
    from rich.console import Console
    from rich.progress import track

    from ttprof.report import trace_ranks

    found, stderr = ranks.find(paths), Console(stderr=True)
    files = found.files
    communication, steps_glob = options.communication, options.steps_glob
    rows: Iterable[ranks.RankRow] = ranks.read_all(files, options.salvage, None, communication, steps_glob)
    hidden = not stderr.is_terminal
    rows = track(rows, "reading traces", len(files), console=stderr, transient=True, disable=hidden)
    result = ranks.by_rank(list(rows), found.not_read)
    options.show(result, trace_ranks.render)
    if result.unreadable:
        sys.exit(2)
