"""Devices, streams and NVTX domains of several processes in one recording of Nsight Systems."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import nsys_files as n

from ttprof.trace.analyses import summary
from ttprof.trace.formats import detect


def two_processes(path: Path, *devices: tuple[int, int, int], **tables) -> Path:
    """Two processes that both use device 0 and stream 7; *devices* are rows of (gpuId, cudaId, pid)."""
    kernels = [
        n.kernel(1000 + 100 * i, 1100 + 100 * i, i + 1, process=p)
        for p in (n.PROCESS, n.OTHER_PROCESS)
        for i in range(5)
    ]
    calls = [n.launch(100 + i, 101 + i, i + 1, thread=p + 1) for p in (n.PROCESS, n.OTHER_PROCESS) for i in range(5)]
    n.write(path, kernel=kernels, runtime=calls, gpu=[(0, "H100"), (1, "H100")], **tables)
    with sqlite3.connect(path) as connection:
        if devices:
            connection.execute("CREATE TABLE TARGET_INFO_CUDA_DEVICE (gpuId, cudaId, pid)")
            connection.executemany("INSERT INTO TARGET_INFO_CUDA_DEVICE VALUES (?, ?, ?)", devices)
    connection.close()
    return path


def test_device_0_of_each_process_is_the_gpu_that_it_sees(tmp_path):
    found = summary.summarise(detect.read(two_processes(tmp_path / "t.sqlite", (0, 0, 100), (1, 0, 200))))
    assert [(d.device, d.busy_ns, d.overlap_ns) for d in found.devices] == [(0, 500, 0), (1, 500, 0)]
    assert found.trace.left_out == [] and found.trace.notes == []
    assert found.launches.count == 10 and found.launches.max_queue_depth == 5


def test_processes_that_share_a_gpu_have_streams_of_their_own(tmp_path):
    found = summary.summarise(detect.read(two_processes(tmp_path / "t.sqlite", (0, 0, 100), (0, 0, 200))))
    (device,) = found.devices
    assert [(s.stream, s.busy_ns) for s in device.streams] == [(7, 500), (8, 500)]
    assert [str(note) for note in found.trace.notes] == ["stream 7 of process 200 on GPU 0 is shown as stream 8"]


def test_a_file_without_the_table_keeps_the_numbers(tmp_path):
    found = summary.summarise(detect.read(two_processes(tmp_path / "t.sqlite")))
    assert [device.device for device in found.devices] == [0]


def domains(path: Path, *created: tuple[int, str, int]) -> Path:
    """Ranges called enqueue in the default domain and in domain 3, and the *created* domains."""
    n.write(path, nvtx=[n.pushed(0, 10, "enqueue"), n.pushed(20, 50, "enqueue"), n.pushed(60, 61, "own")])
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE NVTX_EVENTS ADD COLUMN domainId")
        connection.execute("UPDATE NVTX_EVENTS SET domainId = CASE WHEN start = 0 THEN 0 ELSE 3 END")
        for domain, name, thread in created:
            row = (5, None, 75, thread, name, None, domain)
            connection.execute("INSERT INTO NVTX_EVENTS VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    connection.close()
    return path


def names(path: Path) -> list[str]:
    return sorted(row.name for row in summary.summarise(detect.read(path)).nvtx.time_by_range)


def test_ranges_keep_their_domain_as_nsys_stats_prints_it(tmp_path):
    assert names(domains(tmp_path / "t.sqlite", (3, "TensorRT", n.MAIN))) == [
        "TensorRT:enqueue",
        "TensorRT:own",
        "enqueue",
    ]


def test_ranges_of_an_unnamed_domain_never_merge_with_the_default_one(tmp_path):
    assert names(domains(tmp_path / "t.sqlite")) == ["domain 3:enqueue", "enqueue", "own"]
    other = domains(tmp_path / "u.sqlite", (3, "TensorRT", n.OTHER_PROCESS + 1))  # of another process
    assert names(other) == ["domain 3:enqueue", "enqueue", "own"]


def test_calls_without_work_of_the_gpu_are_said_with_what_nsys_reports(tmp_path):
    path = n.write(
        tmp_path / "t.sqlite",
        runtime=[n.launch(1, 2, 1)],
        diagnostic=[(0, "Profiling has started."), (1, "CUDA device tracing failed: insufficient privilege.")],
    )
    (note,) = summary.summarise(detect.read(path)).trace.notes
    assert str(note) == (
        "CUDA API calls were recorded, but no work of the GPU; nsys reports: CUDA device tracing failed: insufficient "
        "privilege."
    )
