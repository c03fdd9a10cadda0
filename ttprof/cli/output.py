"""Prints the struct that a command computed, as JSON or as tables, and writes the files that it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from ttprof.system.escape import visible, visible_struct

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ttprof.result import SuiteResult

S = TypeVar("S", bound=msgspec.Struct)


def show_json(struct: msgspec.Struct) -> None:
    """Print *struct* as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(struct), indent=1).decode())


def show(struct: S, render: Callable[[S], RenderableType]) -> None:
    """Print *struct* as *render* draws it.

    Names come from files, so *render* gets a copy with control characters escaped. Long lines wrap in a narrow terminal
    instead of being cropped, so no number is lost.
    """
    from ttprof.report import console  # here, so that --json does not wait for rich

    console.console().print(render(visible_struct(struct)), crop=False)


def write_files(results: Sequence[SuiteResult], paths: Mapping[str, Path | None]) -> bool:
    """Write *results* in every format that has a path, say so, and name each file that can't be written.

    Returns whether all were written; if not, a command exits with 2.
    """
    from ttprof.report import outputs

    written = outputs.write(results, paths)
    for message in written.messages:
        click.echo(message)
    for failure in written.failures:
        click.echo(f"ttprof: {visible(str(failure))}", err=True)
    return not written.failures
