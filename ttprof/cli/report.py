"""``ttprof report``: saved results enter and are shown again. No torch, no GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ttprof.judge import verify
from ttprof.report import console, outputs
from ttprof.result import RESULT_FILE, SuiteResult, load_all

OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command(name="report")
@click.argument("result", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="Print only failures and totals.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw what is shown into an SVG file.")
@click.option("--junit", type=OUTPUT, help="Write all results as JUnit XML.")
@click.option("--html", type=OUTPUT, help="Write all results as one HTML page, which needs no server.")
@click.option("--verify", is_flag=True, help="Judge limits and scalings again from the samples that the file keeps.")
def command(
    result: tuple[Path, ...], quiet: bool, svg: Path | None, junit: Path | None, html: Path | None, verify: bool
) -> None:
    """Show saved results: result.json files, files of several results, or the folders of runs.

    Exits with 1 when one did not pass; with --verify also when a verdict comes out otherwise than saved: the file was
    changed, or the rules have.
    """
    found = [each for path in result for each in _loaded(path)]
    out = console.console() if svg is None else console.drawing()
    for each in found:
        if quiet:
            click.echo(console.brief(each))
        if svg is not None or not quiet:
            out.print(console.render(each, out.width))
    if svg is not None:
        try:
            console.save_svg(out, svg)
        except OSError as error:
            raise click.FileError(str(svg), error.strerror) from error
        click.echo(f"wrote {svg}")
    for line in outputs.write(found, {"junit": junit, "html": html}):
        click.echo(line)
    confirmed = [_confirmed(each) for each in found if verify]
    sys.exit(0 if all(confirmed) and all(each.passed for each in found) else 1)


def _loaded(path: Path) -> list[SuiteResult]:
    """The results of a file or of the folder of a run."""
    return load_all(path / RESULT_FILE if path.is_dir() else path)


def _confirmed(result: SuiteResult) -> bool:
    """Whether everything comes out as it was saved; says what does not."""
    found = verify.check(result)
    for sentence in found.differences:
        click.echo(f"not confirmed: {sentence}")
    rest = f"; {found.left} others need tensors, traces or another run" if found.left else ""
    said = f"{found.judged} verdicts were judged again{rest}"
    click.echo(f"{result.name}: {'CHANGED' if found.differences else 'confirmed'}: {said}")
    return not found.differences
