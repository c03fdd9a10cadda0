"""``ttprof merge``: makes one result of the shards of a run, without torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from ttprof import merge
from ttprof.report import console, github, jsonfile, outputs, sentences
from ttprof.result import RESULT_FILE, SuiteResult


@click.command(name="merge")
@click.argument("run", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File of all suites (NAME.json), or folder for the result.json of one.",
)
@click.option("--force", is_flag=True, help="Merge even if shards are missing or unlike; the result says so.")
@click.option("-q", "--quiet", is_flag=True, help="Print only failures and totals.")
def command(run: tuple[Path, ...], output: Path, force: bool, quiet: bool) -> None:
    """Make one result of the shards of a run.

    RUNs are the results of ttprof run --shard: run folders, their result.json, or files of ttprof run --json. All
    shards must be there, of one commit, machine and software. Traces stay where they are; an HTML report shows those
    below the folder of the output.

    Exit codes: 0 all passed; 1 a case failed or could not be judged; 2 wrong usage, unreadable input, or shards that
    don't belong together.
    """
    target = output if output.suffix == ".json" else output / RESULT_FILE
    if any(target.resolve() in (path.resolve(), (path / RESULT_FILE).resolve()) for path in run):
        raise click.UsageError(f"the output {target} would replace a shard: choose another name")
    merged = merge.merge([result for path in run for result in merge.read(path)], force=force)
    for result in _written(merged, target):
        if not quiet:
            out = console.console()
            out.print(console.render(result, out.width))
        click.echo(console.brief(result) if quiet else sentences.named_totals(result))
        if result.merged_despite:
            click.echo(f"ttprof: {result.name}: {merge.overlooked(result.merged_despite)}", err=True)
    click.echo(f"wrote {target}")
    github.summarise(merged, os.environ)
    sys.exit(0 if all(result.passed for result in merged) else 1)


def _written(merged: list[SuiteResult], target: Path) -> list[SuiteResult]:
    """Write the results, and return them with their folder, which is that of a run only if the file has its name."""
    outputs.check({"output": target})
    if target.name != RESULT_FILE:
        results = [msgspec.structs.replace(result, run_dir="") for result in merged]
        jsonfile.write(results, target)
        return results
    if len(merged) > 1:
        names = ", ".join(result.name for result in merged)
        raise click.UsageError(f"{RESULT_FILE} holds the result of one suite, these are {names}: --output NAME.json")
    results = [msgspec.structs.replace(result, run_dir=str(target.parent.resolve())) for result in merged]
    outputs.write_text(target, results[0].to_json() + "\n")
    return results
