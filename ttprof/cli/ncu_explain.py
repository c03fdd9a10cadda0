"""``ttprof ncu-explain``: a report of Nsight Compute enters, one sentence per kernel and a roofline leave. No GPU."""

from __future__ import annotations

import click
import msgspec

from ttprof.errors import printable
from ttprof.nsight import compute_report

NARROWEST = 110
"""A terminal that is narrower wraps the lines: a table that is squeezed further would lose numbers."""

HELP = """Say why each kernel of a Nsight Compute report is as slow as it is.

Each kernel gets one sentence: memory-bound, compute-bound, balanced or latency-bound, with the measured shares of the
device's peaks, and NVIDIA's own advice for it. What the report does not hold is named, with the section that collects
it. It needs no GPU, but NVIDIA's reader: pip install "ttprof[ncu]".

\b
ncu --set full --nvtx -o report --kernel-name regex:gemm python script.py
ttprof ncu-explain report.ncu-rep                       the slowest kernels
ttprof ncu-explain report.ncu-rep --kernel '*softmax*'  some of them
ttprof ncu-explain report.ncu-rep --html roofline.html  all of them under their roofs, in one file

docs/nsight.md says how to record, what each number means, and what is not counted.
Exit codes: 0 read; 2 the report could not be read, or no kernel matches.
"""


@click.command(name="ncu-explain", help=HELP)
@click.argument("path", metavar="REPORT.ncu-rep", type=click.Path())
@click.option("--kernel", metavar="GLOB", help="Only kernels whose name matches; upper or lower case.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/nsight.md): times in ns, sizes in bytes.")
@click.option("--html", metavar="FILE", type=click.Path(), help="Write the roofline and all sentences to one file.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="Kernels shown, the slowest first.")
def command(path: str, kernel: str | None, as_json: bool, html: str | None, top: int) -> None:
    """Read, choose, show."""
    report = compute_report.read(path)
    if kernel is not None:
        report = compute_report.matching(report, kernel)
    if html is not None:
        from ttprof.report import roofline

        written = roofline.write(msgspec.to_builtins(report), html)
        click.echo(f"wrote {printable(str(written))}", err=as_json)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
        return
    from ttprof.report import console, ncu_kernels

    out = console.console()
    out.print(ncu_kernels.render(msgspec.to_builtins(report), top), width=max(out.width, NARROWEST), crop=False)
