"""Prints the struct that a command computed, as JSON or as tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from ttprof.system.escape import visible_struct

if TYPE_CHECKING:
    from rich.console import RenderableType

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
