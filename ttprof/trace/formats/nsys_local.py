"""What is local to a process in a recording of Nsight Systems: numbers of devices and streams, and NVTX domains.

A process numbers the devices that it may see from 0 (CUDA_VISIBLE_DEVICES), and its streams and domains on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ttprof.trace.events import UNKNOWN, Int
from ttprof.trace.formats.nsys_tables import PROCESS_BITS, Database, NameTable

_PID_MASK = 0xFFFFFF
_DEFAULT_DOMAIN = 0
_DOMAIN_CREATED = "eventType = 75 AND text IS NOT NULL"

Table = dict[str, Int]


@dataclass
class Local:
    """Numbers and names of one file that mean something only in their process."""

    database: Database

    def place(self, tables: Sequence[Table]) -> list[str]:
        """Give the work in *tables* the numbers of GPUs, and each stream of a GPU one that no other process uses.

        Returns a sentence for each process whose streams were renumbered.
        """
        for table in tables:
            table["deviceId"] = self.gpus(table["deviceId"], table["globalPid"])
        return _separate_streams(tables)

    @cached_property
    def _gpu_of(self) -> dict[tuple[int, int], int]:
        """The GPU of each (process id, device number)."""
        rows = self.database.rows("TARGET_INFO_CUDA_DEVICE", "pid", "cudaId", "gpuId")
        return {(pid, device): gpu for pid, device, gpu in rows if all(type(n) is int for n in (pid, device, gpu))}

    def gpus(self, device: Int, global_id: Int) -> Int:
        """The GPU of each device number of a process; the number itself where the file does not say."""
        if not self._gpu_of or not len(device):
            return device
        pairs = np.stack((_pid(global_id), device))
        unique, place = np.unique(pairs, axis=1, return_inverse=True)
        gpus = [self._gpu_of.get((pid, number), number) for pid, number in unique.T.tolist()]
        return np.array(gpus, dtype=np.int64)[place.reshape(-1)]

    @cached_property
    def _domains(self) -> dict[tuple[int, int], str]:
        """The name of each (process, domain)."""
        rows = self.database.rows("NVTX_EVENTS", "globalTid", "domainId", "text", where=_DOMAIN_CREATED)
        return {
            (thread >> PROCESS_BITS, domain): str(text)
            for thread, domain, text in rows
            if type(thread) is int and type(domain) is int
        }

    def with_domains(self, names: NameTable, name: Int, domain: Int, thread: Int) -> Int:
        """The names of ranges, with that of their domain before them as ``nsys stats`` prints it: ``TensorRT:enqueue``.

        The default domain has none. A domain whose creation was not recorded has its number, but only where its ranges
        would otherwise have the name of ranges of the default domain.
        """
        elsewhere = np.flatnonzero(domain > _DEFAULT_DOMAIN)
        if not len(elsewhere):
            return name
        default = set(np.unique(name[domain <= _DEFAULT_DOMAIN]).tolist())
        keys = np.stack((name[elsewhere], domain[elsewhere], thread[elsewhere] >> PROCESS_BITS))
        unique, place = np.unique(keys, axis=1, return_inverse=True)
        texts = names.texts(self.database, np.unique(unique[0]))
        codes = [
            self._qualified(names, texts, default, code, number, process) for code, number, process in unique.T.tolist()
        ]
        result = name.copy()
        result[elsewhere] = np.array(codes, dtype=np.int64)[place.reshape(-1)]
        return result

    def _qualified(
        self, names: NameTable, texts: dict[int, str], default: set[int], code: int, domain: int, process: int
    ) -> int:
        known = self._domains.get((process, domain))
        if known is None and code not in default:
            return code
        return names.code(f"{known or f'domain {domain}'}:{texts.get(code, '')}")


def _pid(global_id: Int) -> Int:
    return np.where(global_id == UNKNOWN, UNKNOWN, (global_id >> PROCESS_BITS) & _PID_MASK)


def _separate_streams(tables: Sequence[Table]) -> list[str]:
    """Renumber the streams that several processes have on one GPU, all but those of the first process."""
    keys = [np.stack((t["deviceId"], t["streamId"], t["globalPid"] >> PROCESS_BITS)) for t in tables]
    known = [key[:, table["globalPid"] != UNKNOWN] for key, table in zip(keys, tables, strict=True)]
    unique = np.unique(np.concatenate(known, axis=1), axis=1) if known else np.zeros((3, 0), dtype=np.int64)
    taken: dict[tuple[int, int], int] = {}
    renamed: dict[tuple[int, int, int], int] = {}
    following = int(unique[1].max(initial=0)) + 1
    sentences = []
    for gpu, stream, process in unique.T.tolist():
        if taken.setdefault((gpu, stream), process) != process:
            renamed[gpu, stream, process] = following
            pid = process & _PID_MASK
            sentences.append(f"stream {stream} of process {pid} on GPU {gpu} is shown as stream {following}")
            following += 1
    if renamed:
        for table, key in zip(tables, keys, strict=True):
            table["streamId"] = _looked_up(key, lambda k: renamed.get(k, k[1]))
    return sentences


def _looked_up(keys: Int, value: Callable[[tuple[int, int, int]], int]) -> Int:
    unique, place = np.unique(keys, axis=1, return_inverse=True)
    values = [value((first, second, third)) for first, second, third in unique.T.tolist()]
    return np.array(values, dtype=np.int64)[place.reshape(-1)] if len(values) else np.zeros(0, dtype=np.int64)
