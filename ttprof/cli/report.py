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
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML file that needs no server."
)
def command(result: tuple[Path, ...], svg: Path | None, html: Path | None) -> None:
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
    if html is not None:
        from ttprof.dashboard.runs import moved
        from ttprof.report import html as report

        folders = [path if path.is_dir() else path.parent for path in result]
        report.write([moved(each, folder) for each, folder in zip(found, folders, strict=True)], html)
        click.echo(f"wrote {html}")
    sys.exit(0 if all(each.passed for each in found) else 1)
