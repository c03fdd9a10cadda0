"""TensorBoard's own panes: a scalar for each metric of each case, and a text summary.

A result enters; one event file in the run's folder leaves. The traces beside it were written by the collector and
are shown by torch-tb-profiler.
"""

from __future__ import annotations

import time
from pathlib import Path

from ttprof.report.markdown import markdown
from ttprof.result import SuiteResult


def write(result: SuiteResult, folder: str | Path) -> None:
    """Write scalars tagged ``METRIC/CASE`` (the step is the swept size, 0 without a sweep) and the summary."""
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
    writer.add_event(Event(wall_time=now, step=0, summary=text_pb("summary", markdown(result))))
    writer.close()
