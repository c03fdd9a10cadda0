"""Recognises files that are no trace of torch.profiler or Nsight Systems, and says what to do with them.

Only the first bytes are looked at; nothing is ever unpickled or run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ttprof.errors import TraceError
from ttprof.trace.formats.source import Damaged, open_source

HEAD_BYTES = 1 << 18
"""Bytes of a file that are looked at."""


class Foreign(NamedTuple):
    """A kind of file: what it is, what to do with it, and a pattern that its first bytes contain."""

    what: str
    next_step: str
    pattern: re.Pattern[bytes]


def _pattern(text: bytes) -> re.Pattern[bytes]:
    return re.compile(text, re.DOTALL)


BINARY = (
    Foreign(
        "a Python pickle, as torch.cuda.memory._dump_snapshot writes",
        "look at a memory snapshot at https://pytorch.org/memory_viz (ttprof never unpickles)",
        _pattern(rb"\A\x80[\x02-\x05]"),
    ),
    Foreign(
        "an XPlane file (protobuf) of JAX or TensorFlow",
        "open it in XProf: pip install xprof, then xprof --logdir FOLDER",
        _pattern(rb"\A\x0a.{0,200}?(/host:|/device:|Task Environment|xplane|/job:)"),
    ),
    Foreign(
        "a Perfetto trace (protobuf)",
        "open it at https://ui.perfetto.dev, or convert it with traceconv json",
        _pattern(rb"\A\x0a[\x00-\xff]"),
    ),
    Foreign(
        "a report of Nsight Compute",
        "explain its kernels with ttprof ncu-explain",
        _pattern(rb"\ANVR\x00"),
    ),
    Foreign(
        "a Git LFS pointer, not the file itself",
        "fetch the file with git lfs pull",
        _pattern(rb"\Aversion https://git-lfs"),
    ),
    Foreign(
        "an HTML page",
        "download the file itself (the raw link), not the page that shows it",
        _pattern(rb"(?i)\A\s*<(!doctype html|html)"),
    ),
)
"""Files that are not JSON."""

JSON = (
    Foreign(
        "an execution trace of PyTorch or Chakra, which holds the graph of operators and no times of the device",
        "record with torch.profiler and export_chrome_trace, or use the tools of Chakra",
        _pattern(rb'"schema"\s*:\s*"[^"]*(chakra|\d)[^"]*".*"nodes"\s*:\s*\[|"nodes"\s*:\s*\[.*"schema"\s*:\s*"'),
    ),
    Foreign(
        "a JSON export of Nsight Systems",
        "export it with nsys export --type sqlite instead",
        _pattern(rb'\A\s*\{"data"\s*:|"(CudaEvent|TraceProcessEvent|NvtxEvent|CudaGraphNodeEvent)"\s*:'),
    ),
    Foreign(
        "a trace of torch_npu (Ascend)",
        "open it in MindStudio Insight, or analyse it with msprof-analyze",
        _pattern(rb'Ascend Hardware|"async_npu"|AscendCL@|"CANN"'),
    ),
    Foreign(
        "a trace of AWS Neuron",
        "open it with neuron-profile view",
        _pattern(rb"(?i)neuron_?core|neuron_rt|\bneff\b"),
    ),
    Foreign(
        "a trace of JAX or XLA",
        "open it at https://ui.perfetto.dev, or in XProf",
        _pattern(rb'"/device:(GPU|TPU|CPU)|"/host:CPU|"hlo_(module|op)"|"XLA (Modules|Ops)"'),
    ),
    Foreign(
        "a timeline of TensorFlow",
        "open it at https://ui.perfetto.dev",
        _pattern(rb"/job:\w+/replica:"),
    ),
    Foreign(
        "a trace of VizTracer",
        "open it with vizviewer",
        _pattern(rb'"viztracer_metadata"|"VizTracer"'),
    ),
    Foreign(
        "a speedscope profile",
        "open it at https://www.speedscope.app",
        _pattern(rb'"\$schema"\s*:\s*"https://www\.speedscope'),
    ),
    Foreign(
        "a trace of Chrome itself",
        "open it at https://ui.perfetto.dev",
        _pattern(rb'"cat"\s*:\s*"[^"]*(toplevel|disabled-by-default|devtools|blink|v8|cc,|netlog)|"trace-config"'),
    ),
)
"""Files that are JSON, those with a list of events included."""


def guess(head: bytes) -> Foreign | None:
    """What a file is by its first bytes; None if that is not known."""
    return next((foreign for foreign in (*BINARY, *JSON) if foreign.pattern.search(head)), None)


def guess_json(head: bytes) -> Foreign | None:
    """What a JSON file is by its first bytes; None if that is not known."""
    return next((foreign for foreign in JSON if foreign.pattern.search(head)), None)


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked if it is gzipped; empty if it can't be read."""
    head = memoryview(bytearray(HEAD_BYTES))
    filled = 0
    try:
        with open_source(path) as source:
            while filled < HEAD_BYTES and (count := source.readinto(head[filled:])):
                filled += count
    except (TraceError, Damaged):
        pass
    return bytes(head[:filled])


def sentence(foreign: Foreign) -> str:
    """What a file looks like, and what to do."""
    return f"it looks like {foreign.what}: {foreign.next_step}"
