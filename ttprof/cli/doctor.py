"""``ttprof doctor``: shows what ttprof has to work with on this machine, and checks the peaks of its devices."""

from __future__ import annotations

import sys

import click

from ttprof.cli.output import show, show_json

HELP = """Show the devices, versions and tools of this machine.

\b
ttprof doctor                 devices, versions, Nsight tools
ttprof doctor --peaks         also measure the peaks behind expect(sol=...)

The peaks of a device come from a table, and --peaks checks them by large matrix products and copies, which take about
a second each. A device that is not in the table, such as a CPU, is measured by each suite that limits sol.

Exit codes: 0 nothing is wrong; 1 a measured peak contradicts the table.
"""


@click.command(name="doctor", help=HELP)
@click.option("--peaks", is_flag=True, help="Measure the peaks of each device, and compare them with the table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(peaks: bool, as_json: bool) -> None:
    """Examine the machine and print the report."""
    from ttprof.report.doctor import render  # here, so that --help does not wait for rich
    from ttprof.run.doctor import examine  # nor for torch

    machine = examine(peaks, lambda step: click.echo(step, err=True))
    show_json(machine) if as_json else show(machine, render)
    sys.exit(any(check.off for device in machine.devices for check in device.peaks))
