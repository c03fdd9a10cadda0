"""``ttprof view``: a folder of runs enters, a TensorBoard on this machine's loopback address serves it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ttprof.errors import TraceError


@click.command(name="view")
@click.argument("logdir", default="traces", type=click.Path(path_type=Path))
@click.option("--port", default=6006, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
def command(logdir: Path, port: int) -> None:
    """Open TensorBoard on LOGDIR (default ./traces), on 127.0.0.1 only.

    The TTPROF tab shows everything: verdicts, samples, kernels, timelines, memory, scaling, and runs side by side.
    Every case is also a run of the PYTORCH_PROFILER tab; metrics are under SCALARS, the summary under TEXT.
    """
    if not any(any(logdir.rglob(pattern)) for pattern in ("result.json", "*.pt.trace.json*")):
        raise TraceError(f"{logdir}: no run in it; run a suite first, or name the folder that holds the runs")
    os.environ.setdefault("TORCH_PROFILER_LOG_LEVEL", "WARNING")
    click.echo(f"TensorBoard on {logdir}, tab TTPROF; it prints its address once it is ready (Ctrl-C stops it)")
    sys.stdout.flush()
    arguments = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1"]
    os.execv(sys.executable, [*arguments, "--port", str(port)])
