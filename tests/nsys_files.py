"""Hand-written exports of Nsight Systems: a few rows whose sums one can check in the head."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ttprof.trace.formats import kineto_writer, nsys_sqlite

PROCESS = 100 << 24
"""The global id of process 100; a thread is added to it."""

OTHER_PROCESS = 200 << 24
MAIN, WORKER = PROCESS + 1, PROCESS + 2

COLUMNS = {
    "CUPTI_ACTIVITY_KIND_KERNEL": "start end deviceId streamId correlationId globalPid demangledName shortName",
    "CUPTI_ACTIVITY_KIND_MEMCPY": "start end deviceId streamId correlationId globalPid copyKind bytes",
    "CUPTI_ACTIVITY_KIND_MEMSET": "start end deviceId streamId correlationId globalPid",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": "start end deviceId streamId correlationId globalPid graphId",
    "CUPTI_ACTIVITY_KIND_RUNTIME": "start end globalTid correlationId nameId",
    "NVTX_EVENTS": "start end eventType globalTid text textId",
    "CUDA_GPU_MEMORY_USAGE_EVENTS": "start deviceId bytes address memoryOperationType",
    "DIAGNOSTIC_EVENT": "timestamp text",
    "TARGET_INFO_GPU": "id name",
    "StringIds": "id value",
    "META_DATA_EXPORT": "name value",
}
STRINGS = {1: "gemm", 2: "relu", 3: "cudaLaunchKernel_v7000", 4: "registered", 5: "cudaGraphLaunch_v10000"}
GEMM, RELU, LAUNCH, REGISTERED, GRAPH_LAUNCH = STRINGS

Rows = Iterable[Sequence[Any]]


def write(path: Path, schema: str = "3.25.0", without: str = "", **tables: Rows) -> Path:
    """An export with the tables given by the ends of their names, ``kernel=[...]``; *without* leaves a column out."""
    path.unlink(missing_ok=True)
    rows: dict[str, Rows] = {"strings": STRINGS.items(), "export": [("EXPORT_SCHEMA_VERSION", schema)]}
    ends = {"strings": "StringIds", "export": "META_DATA_EXPORT", "nvtx": "NVTX_EVENTS", "gpu": "TARGET_INFO_GPU"}
    ends |= {"memory": "CUDA_GPU_MEMORY_USAGE_EVENTS", "diagnostic": "DIAGNOSTIC_EVENT"}
    with sqlite3.connect(path) as connection:
        for end, table_rows in (rows | tables).items():
            table = ends.get(end, f"CUPTI_ACTIVITY_KIND_{end.upper()}")
            columns = COLUMNS[table].split()
            included = [i for i, column in enumerate(columns) if column != without]
            named = ", ".join(f'"{columns[i]}"' for i in included)
            connection.execute(f"CREATE TABLE {table} ({named})")
            marks = ", ".join("?" for _ in included)
            connection.executemany(
                f"INSERT INTO {table} VALUES ({marks})", [[row[i] for i in included] for row in table_rows]
            )
    connection.close()
    return path


def converted(folder: Path) -> Path:
    """The trace that the backend of Nsight makes of an export: two iterations of a module, each with two kernels.

    The first is launched at 130 µs and begins at 150 µs; from one to the next are 20 µs, between iterations 300 µs.
    """
    kernels, launches, ranges = [], [], []
    for i, at in enumerate((100_000, 400_000)):
        ranges += [pushed(at, at + 200_000, f"ttprof.iteration#{i + 1}")]
        ranges += [
            pushed(at + 10_000, at + 90_000, "module: block"),
            pushed(at + 20_000, at + 60_000, "module: block.ffn"),
        ]
        for k, name in enumerate((GEMM, RELU)):
            launched = at + 30_000 + 20_000 * k
            launches.append(launch(launched, launched + 5_000, 2 * i + k + 1))
            kernels.append(kernel(launched + 20_000, launched + 35_000, 2 * i + k + 1, name))
    export = write(folder / "suite.sqlite", kernel=kernels, runtime=launches, nvtx=ranges, gpu=[(0, "a GPU")])
    path = folder / "block.pt.trace.json.gz"
    kineto_writer.write(nsys_sqlite.read(export), path)
    return path


def kernel(start: int, end: int, correlation: int, name: int = GEMM, process: int = PROCESS, device: int = 0):
    return (start, end, device, 7, correlation, process, name, name)


def launch(start: int, end: int, correlation: int, thread: int = MAIN, name: int = LAUNCH):
    return (start, end, thread, correlation, name)


def pushed(start: int, end: int | None, text: str, thread: int = MAIN):
    return (start, end, 59, thread, text, None)


def started(start: int, end: int | None, text: str, thread: int = MAIN):
    return (start, end, 60, thread, text, None)
