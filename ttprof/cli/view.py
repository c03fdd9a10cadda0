"""``ttprof view``: starts TensorBoard on a folder of runs, on the loopback address only."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.result import RESULT_FILE

MAX_TRACES = 48
"""The PYTORCH_PROFILER tab starts a process per trace, all at once; it is left out beyond this many."""

HOST = "127.0.0.1"

HELP = f"""Open TensorBoard on a folder of runs.

The server listens on {HOST} only, and refuses requests to other names; TTPROF_ALLOWED_HOSTS=NAME adds one, for a proxy.

The TTPROF tab shows everything: verdicts, samples, kernels, timelines, memory, scaling, and runs side by side. SCALARS
has the metrics and TEXT the summary.

The PYTORCH_PROFILER tab shows each case as a run. It starts a process per trace, so it is left out if there are more
than {MAX_TRACES}.
"""


@click.command(name="view", help=HELP)
@click.argument("logdir", default="traces", type=click.Path(path_type=Path))
@click.option(
    "--port",
    metavar="PORT",
    default=6006,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 for any free port.",
)
@click.option("--all-tabs", is_flag=True, help="Keep the PYTORCH_PROFILER tab, regardless of the number of traces.")
def command(logdir: Path, port: int, all_tabs: bool) -> None:
    """Replace this process with TensorBoard."""
    traces = sum(1 for _ in logdir.rglob("*.pt.trace.json*"))
    if not traces and not any(logdir.rglob(RESULT_FILE)):
        raise TraceError(
            f"{logdir}: no run in this folder; run a suite first, or pass the folder that contains the runs",
            TraceErrorCode.NOT_FOUND,
        )
    if port and _in_use(port):
        raise click.UsageError(f"port {port} of {HOST} is in use (another ttprof view?); --port 0 picks a free one")
    os.environ.setdefault("TORCH_PROFILER_LOG_LEVEL", "WARNING")
    address = f"http://{HOST}:{port}/ in a few seconds" if port else "an address that TensorBoard prints when ready"
    click.echo(f"TensorBoard on {logdir}, tab TTPROF, at {address} (Ctrl-C stops it)")
    reduced = []
    if traces > MAX_TRACES and not all_tabs:
        reduced = ["--without-torch-profiler"]
        click.echo(f"left out the PYTORCH_PROFILER tab: it would start {traces} processes (--all-tabs keeps it)")
    sys.stdout.flush()
    arguments = [sys.executable, "-m", "ttprof.dashboard.serve", *reduced, "--logdir", str(logdir), "--host", HOST]
    os.execv(sys.executable, [*arguments, "--port", str(port)])


def _in_use(port: int) -> bool:
    """Whether a server accepts connections on this port of the loopback address."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
