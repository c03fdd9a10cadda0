"""Writes a TensorBoard event file: scalars of all metrics, pictures of scalings, hparams, and a text summary.

The traces in the same folder come from the collector; torch-tb-profiler displays them.
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ttprof.errors import writing
from ttprof.report.markdown import markdown
from ttprof.result import SuiteResult
from ttprof.system import files

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary


def write(result: SuiteResult, folder: str | Path) -> None:
    """Write one event file of *result* to *folder*.

    Scalars are tagged ``METRIC/CASE`` (the step is the swept size, 0 without a sweep), pictures ``scaling/CASE``. The
    hparams are the environment of the run, with the metrics that have limits as their metrics.

    Raises ResultFileError if the file can't be written.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    records = io.BytesIO()  # TensorBoard's own writer leaves half a file on a full disk, and may wait forever
    writer = RecordWriter(records)
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for case in result:
        for trial in case.trials:
            step = next(iter(trial.point.values()), 0)
            for m in trial.measurements:
                summary = scalar_pb(f"{m.name}/{case.module_name}", m.value)
                writer.write(Event(wall_time=now, step=step, summary=summary).SerializeToString())
    for summary in (*_pictures(result), *_hparams(result, now), text_pb("summary", markdown(result))):
        writer.write(Event(wall_time=now, step=0, summary=summary).SerializeToString())
    path = _unused_name(Path(folder), now)
    with writing(path):
        files.replace(path, records.getvalue())


def _unused_name(folder: Path, now: float) -> Path:
    """The path of a new event file, named as TensorBoard names them: time, host, process and a number."""
    stem = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"
    return next(path for number in count() if not (path := folder / f"{stem}.{number}").exists())


def _pictures(result: SuiteResult) -> Iterator[Summary]:
    """A picture for each case with a scaling."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    from ttprof.dashboard import picture, scaling

    for case in result:
        if case.scaling is not None:
            png = picture.png(scaling.scaling(case))
            image = Summary.Image(height=picture.HEIGHT, width=picture.WIDTH, colorspace=3, encoded_image_string=png)
            yield Summary(value=[Summary.Value(tag=f"scaling/{case.module_name}", image=image)])


def _hparams(result: SuiteResult, now: float) -> Iterator[Summary]:
    """The hparams of a run: its environment, and the metrics that have limits."""
    from tensorboard.plugins.hparams import summary_v2 as api

    env = result.environment
    hparams = {
        "suite": result.name,
        "device": env.device_name,
        "threads": env.threads,
        "strict": result.strict,
        "commit": env.git_commit or "unknown",
        **{f"{name} version": version for name, version in env.versions.items()},
    }
    limited = {f"{v.metric}/{case.module_name}" for case in result for v in case.verdicts if v.metric}
    metrics = [api.Metric(tag, display_name=tag) for tag in sorted(limited)]
    yield api.hparams_config_pb(hparams=[api.HParam(name) for name in hparams], metrics=metrics)
    yield api.hparams_pb(hparams, start_time_secs=now)
