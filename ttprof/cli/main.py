"""The ``ttprof`` command: imports the subcommand and turns errors into one line and an exit code.

Subcommands are imported only when they are called, so that ``--help`` is fast.
"""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any, NoReturn, cast

import click

from ttprof.errors import TtprofError
from ttprof.system import signals
from ttprof.system.escape import visible

COMMANDS = {
    "run": "Run scripts that contain test suites.",
    "analyze": "Summarise traces from torch.profiler or Nsight Systems.",
    "scrub": "Copy a trace for a bug report, without secrets.",
    "ncu-explain": "Explain what limits each kernel of an Nsight Compute report.",
    "compare": "Compare a run with an earlier one, or with a baseline.",
    "baseline": "Record, create and update baselines.",
    "report": "Show saved results.",
    "merge": "Make one result of the shards of a run.",
    "view": "Open TensorBoard on a folder of runs.",
    "doctor": "Check whether times measured on this machine can be trusted.",
    "metrics": "List the metrics that expect(...) accepts.",
}
"""The first line of each command's help, available without importing it."""


class _LazyGroup(click.Group):
    """Imports ``ttprof.cli.NAME``, with ``_`` for ``-``, when the command NAME is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ttprof.cli.{cmd_name.replace('-', '_')}")
        return cast(click.Command, module.command)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:  # click would exit with 1, which means that a case failed
            sys.exit(signals.exit_code(signals.number_of(stop)))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


HELP = """Test the speed, memory and numerics of each module of a PyTorch model.

\b
ttprof run gate.py           run the test suites of a script
ttprof analyze TRACE         summarise a torch.profiler trace
ttprof compare BASE NEW      find regressions between two runs
ttprof view                  open TensorBoard on ./traces

Exit codes: 0 all passed; 1 something failed or could not be judged; 2 wrong usage or unreadable input.
"""


@click.command(
    cls=_LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="ttprof", message="ttprof %(version)s")
def cli() -> None:
    """The group of all commands."""


def main() -> NoReturn:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        cli.main(prog_name="ttprof")
    except TtprofError as error:
        click.echo(f"ttprof: {visible(str(error))}", err=True)
    sys.exit(2)
