"""``ttprof ncu-explain``: explains the kernels of an Nsight Compute report, without a GPU."""

from __future__ import annotations

import click

from ttprof.cli.output import show, show_json
from ttprof.errors import printable
from ttprof.nsight import compute_report

HELP = """Explain what limits each kernel of an Nsight Compute report.

Every kernel is memory-bound, compute-bound, balanced or latency-bound. The explanation gives the measured shares of the
device's peaks and NVIDIA's own advice; numbers that the report lacks are named, with the section that collects them.
No GPU is needed, but NVIDIA's reader is: pip install "ttprof[ncu]".

\b
ncu --set full --nvtx -o report --kernel-name regex:gemm python script.py
ttprof ncu-explain report.ncu-rep                       the slowest kernels
ttprof ncu-explain report.ncu-rep --kernel '*softmax*'  selected kernels
ttprof ncu-explain report.ncu-rep --html roofline.html  all kernels on a page

See docs/nsight.md for how to record a report, the meaning of each number, and the limitations.

Exit codes: 0 the report was read; 2 it could not be read, or no kernel matches.
"""


@click.command(name="ncu-explain", help=HELP)
@click.argument("path", metavar="REPORT.ncu-rep", type=click.Path())
@click.option("--kernel", metavar="GLOB", help="Only kernels whose name matches, ignoring case.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (see docs/nsight.md), in ns and bytes.")
@click.option("--html", metavar="FILE", type=click.Path(), help="Write the roofline and every explanation as a page.")
@click.option("--top", metavar="N", default=10, show_default=True, type=click.IntRange(1), help="Show the N slowest.")
def command(path: str, kernel: str | None, as_json: bool, html: str | None, top: int) -> None:
    """Read the report, select kernels, and print them."""
    report = compute_report.read(path)
    if kernel is not None:
        report = compute_report.matching(report, kernel)
    if html is not None:
        from ttprof.report import roofline

        written = roofline.write(report, html)
        click.echo(f"wrote {printable(str(written))}", err=as_json)
    if as_json:
        show_json(report)
        return
    from ttprof.report import ncu_kernels

    show(report, lambda visible: ncu_kernels.render(visible, top))
