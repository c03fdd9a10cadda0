"""``ttprof report``: saved results enter and are shown again. No torch, no GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ttprof.report import console
from ttprof.result import load


@click.command(name="report")
@click.argument("result", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw what is shown into an SVG file.")
def command(result: tuple[Path, ...], svg: Path | None) -> None:
    """Show saved results: result.json files, or the folders of runs. Exits with 1 when one did not pass."""
    found = [load(path / "result.json" if path.is_dir() else path) for path in result]
    out = console.console() if svg is None else console.drawing()
    for each in found:
        out.print(console.render(each, out.width))
    if svg is not None:
        try:
            console.save_svg(out, svg)
        except OSError as error:
            raise click.FileError(str(svg), error.strerror) from error
        click.echo(f"wrote {svg}")
    sys.exit(0 if all(each.passed for each in found) else 1)
