"""``ttprof analyze``: a trace enters, its summary leaves as a table or as JSON. No torch, no GPU."""

from __future__ import annotations

import click
import msgspec

from ttprof.trace import kineto, summary


@click.command(name="analyze")
@click.argument("trace", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON (times in ns, sizes in bytes).")
@click.option("--salvage", is_flag=True, help="Read what is whole of a file that breaks off, and say what was lost.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="Rows of the kernel and op tables.")
def command(trace: str, as_json: bool, salvage: bool, top: int) -> None:
    """Summarise a torch.profiler trace (.json or .json.gz).

    Shows kernels and operators by time, steps with the kernels launched in them, allocator peaks, and launches
    whose kernel is missing.
    """
    found = summary.summarise(kineto.read(trace, salvage))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return
    from ttprof.report import console, trace_summary

    console.console().print(trace_summary.render(msgspec.to_builtins(found), top))
