"""``ttprof view``: a folder of runs enters, a TensorBoard on this machine's loopback address serves it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.result import RESULT_FILE

MOST_TRACES = 48


@click.command(name="view")
@click.argument("logdir", default="traces", type=click.Path(path_type=Path))
@click.option("--port", default=6006, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option("--all-tabs", is_flag=True, help="Load the PYTORCH_PROFILER tab however many traces there are.")
def command(logdir: Path, port: int, all_tabs: bool) -> None:
    """Open TensorBoard on LOGDIR (default ./traces), on 127.0.0.1 only.

    The TTPROF tab shows everything: verdicts, samples, kernels, timelines, memory, scaling, and runs side by side.
    Every case is also a run of the PYTORCH_PROFILER tab; metrics are under SCALARS, the summary under TEXT. That tab
    starts a process for each trace, all at once, so it is left out where there are more than 48.
    """
    traces = sum(1 for _ in logdir.rglob("*.pt.trace.json*"))
    if not traces and not any(logdir.rglob(RESULT_FILE)):
        raise TraceError(
            f"{logdir}: no run in it; run a suite first, or name the folder that holds the runs",
            TraceErrorCode.NOT_FOUND,
        )
    if port and _taken(port):
        raise click.UsageError(f"port {port} of 127.0.0.1 is in use (another ttprof view?); --port 0 picks a free one")
    os.environ.setdefault("TORCH_PROFILER_LOG_LEVEL", "WARNING")
    where = f"at http://127.0.0.1:{port}/ in a few seconds" if port else "at an address that it prints once it is ready"
    click.echo(f"TensorBoard on {logdir}, tab TTPROF, {where} (Ctrl-C stops it)")
    module = "tensorboard.main"
    if traces > MOST_TRACES and not all_tabs:
        module = "ttprof.dashboard.serve"
        click.echo(f"the tab PYTORCH_PROFILER is left out: it would start {traces} processes (--all-tabs does)")
    sys.stdout.flush()
    arguments = [sys.executable, "-m", module, "--logdir", str(logdir), "--host", "127.0.0.1"]
    os.execv(sys.executable, [*arguments, "--port", str(port)])


def _taken(port: int) -> bool:
    """Whether somebody answers at this port of the loopback address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
