"""Prints the struct that a command computed, as JSON or as tables, and writes the files that it was asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast

import click
import msgspec

from ttprof.system.escape import Encodable, visible, visible_struct
from ttprof.units import share

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ttprof.report.outputs import Written
    from ttprof.result import SuiteResult

S = TypeVar("S", bound=msgspec.Struct)


def show_json(struct: msgspec.Struct) -> None:
    """Print *struct* as indented JSON."""
    text = msgspec.json.format(msgspec.json.encode(struct), indent=1).decode()
    click.echo(text.replace("##", r"#\u0023"))  # the same JSON, without commands of CI systems (##[error], ##vso[...])


def show(struct: S, render: Callable[[S], RenderableType]) -> None:
    """Print *struct* as *render* draws it.

    Names come from files, so *render* gets a copy with control characters escaped. Long lines wrap in a narrow terminal
    instead of being cropped, so no number is lost.
    """
    from ttprof.report import console  # here, so that --json does not wait for rich

    console.console().print(render(visible_struct(struct)), crop=False)


def show_markdown(struct: S, render: Callable[[S], RenderableType]) -> None:
    """Print *struct* as *render* draws it, in Markdown."""
    from ttprof.report import trace_markdown

    say(trace_markdown.markdown(render(visible_struct(struct))).rstrip())


def say(line: str) -> None:
    """Print a line; a standard output that is full, closed or gone ends nothing."""
    click.echo(line, file=cast(IO[str], Encodable(sys.stdout)))


def show_written(written: Written) -> None:
    """Print what became of the files of a command."""
    for message in written.messages:
        say(message)
    for failure in written.failures:
        click.echo(f"ttprof: {visible(str(failure))}", err=True)


def write_files(results: Sequence[SuiteResult], paths: Mapping[str, Path | None]) -> bool:
    """Write *results* in every format that has a path, say so, and name each file that can't be written.

    Returns whether all were written; if not, a command exits with 2.
    """
    from ttprof.report import outputs

    written = outputs.write(results, paths)
    show_written(written)
    return not written.failures


def parse_share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Parse a share written as ``5%`` or ``0.05``; None if it is not given."""
    try:
        return None if value is None else share(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
