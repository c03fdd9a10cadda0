"""``ttprof doctor``: checks whether times measured on this machine can be trusted, and the peaks of its devices."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ttprof.cli.output import show, show_json
from ttprof.doctor.probe import Probe

HELP = """Check whether times measured on this machine can be trusted.

\b
ttprof doctor             load, quota, processor, GPUs, torch, folders, tools
ttprof doctor --peaks     also measure the peaks behind expect(sol=...)

It says what to change, but changes nothing, and takes a second, in which it watches the load. The peaks of a device
come from a table, and --peaks checks them by large matrix products and copies, which take about a second each. A device
that is not in the table, such as a CPU, is measured by each suite that limits sol.

Exit codes: 0 nothing is wrong; 1 times measured now would be unsafe, or a measured peak contradicts the table.
"""


@click.command(name="doctor", help=HELP)
@click.option("--peaks", is_flag=True, help="Measure the peaks of each device, and compare them with the table.")
@click.option("--trace-dir", type=click.Path(path_type=Path), default=Path("traces"), help="Folder of the traces.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(peaks: bool, trace_dir: Path, as_json: bool) -> None:
    """Examine the machine and print the report."""
    from ttprof.report.doctor import render  # here, so that --help does not wait for rich
    from ttprof.run.doctor import examine  # nor for torch

    machine = examine(peaks, lambda step: click.echo(step, err=True), Probe(), trace_dir)
    show_json(machine) if as_json else show(machine, render)
    sys.exit(bool(machine.unsafe) or machine.contradicted)
