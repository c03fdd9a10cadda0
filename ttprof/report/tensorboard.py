"""TensorBoard's own panes: a scalar for each metric of each case, pictures of scalings, hparams, and a text summary.

A result enters; one event file in the run's folder leaves. The traces beside it were written by the collector and
are shown by torch-tb-profiler.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ttprof.report.markdown import markdown
from ttprof.result import SuiteResult


def write(result: SuiteResult, folder: str | Path) -> None:
    """Write what TensorBoard's own panes show of a result.

    Scalars are tagged ``METRIC/CASE`` (the step is the swept size, 0 without a sweep), pictures ``scaling/CASE``. The
    hparams say where and with what the run was, beside the metrics that have a limit.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    now = time.time()
    for case in result:
        for trial in case.trials:
            step = next(iter(trial.point.values()), 0)
            for m in trial.measurements:
                summary = scalar_pb(f"{m.name}/{case.module_name}", m.value)
                writer.add_event(Event(wall_time=now, step=step, summary=summary))
    for summary in (*_pictures(result), *_hparams(result, now), text_pb("summary", markdown(result))):
        writer.add_event(Event(wall_time=now, step=0, summary=summary))
    writer.close()


def _pictures(result: SuiteResult) -> Iterator[Any]:
    """A picture for each case that has a scaling."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    from ttprof.dashboard import picture, scaling

    for case in result:
        if case.scaling is not None:
            drawn = picture.png(scaling.scaling(case))
            image = Summary.Image(height=picture.HEIGHT, width=picture.WIDTH, colorspace=3, encoded_image_string=drawn)
            yield Summary(value=[Summary.Value(tag=f"scaling/{case.module_name}", image=image)])


def _hparams(result: SuiteResult, now: float) -> Iterator[Any]:
    """The session of a run: where and with what it ran, beside the metrics that have limits."""
    from tensorboard.plugins.hparams import summary_v2 as api

    env = result.environment
    known = {
        "suite": result.name,
        "device": env.device_name,
        "threads": env.threads,
        "strict": result.strict,
        "commit": env.git_commit or "unknown",
        **{f"{name} version": version for name, version in env.versions.items()},
    }
    limited = {f"{v.metric}/{case.module_name}" for case in result for v in case.verdicts if v.metric}
    metrics = [api.Metric(tag, display_name=tag) for tag in sorted(limited)]
    yield api.hparams_config_pb(hparams=[api.HParam(name) for name in known], metrics=metrics)
    yield api.hparams_pb(known, start_time_secs=now)
