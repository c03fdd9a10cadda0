"""The ``ttprof`` command: finds the subcommand, turns errors into one line and an exit code.

Exit codes: 0 all passed; 1 something failed or could not be judged; 2 wrong usage or unreadable input.
Subcommands are imported when they are called, so that ``--help`` costs nothing.
"""

from __future__ import annotations

import importlib
import io
import sys
from typing import NoReturn, cast

import click

from ttprof.errors import TtprofError

COMMANDS = {
    "run": "Run scripts that hold test suites; the exit code says whether all passed.",
    "analyze": "Say what traces hold: device use, kernels, modules, memory, what is missing.",
    "ncu-explain": "Say why each kernel of a Nsight Compute report is as slow as it is.",
    "compare": "Compare a run with an earlier one, or with a baseline.",
    "baseline": "Keep the baselines that later runs are compared with.",
    "report": "Show saved results again.",
    "view": "Open TensorBoard on a folder of runs.",
    "metrics": "List the metrics that expect(...) knows.",
}


class _Lazy(click.Group):
    """Imports ``ttprof.cli.NAME`` for the command NAME, with _ for its dashes; the help texts are known without it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ttprof.cli.{cmd_name.replace('-', '_')}")
        return cast(click.Command, module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


HELP = """Test the speed, memory and numerics of each module of a PyTorch model.

\b
ttprof run gate.py            run the suites of a script; exit 1 when one fails
ttprof analyze TRACE --json   what a torch.profiler trace holds, as numbers
ttprof compare BASE NEW       what regressed; exit 1 when something did
ttprof view                   TensorBoard on ./traces

Exit codes: 0 all passed; 1 something failed or could not be judged; 2 wrong usage or unreadable input.
"""


@click.command(cls=_Lazy, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
        click.echo(f"ttprof: {error}", err=True)
    sys.exit(2)
