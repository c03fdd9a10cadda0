"""A process of the fuzzer that atheris guides: what reaches new code of ttprof is damaged further.

The inputs are damaged as without it; the first byte chooses the reader.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import random
from pathlib import Path
from types import FunctionType
from typing import Any

from fuzz.mutations import MOST_BYTES, mutated
from fuzz.targets import TARGETS
from fuzz.worker import REPORT_EVERY, Counts, Worker


def is_installed() -> bool:
    return importlib.util.find_spec("atheris") is not None


def run(worker: Worker, number: int, seed: int, folder: Path, reports: Any) -> None:
    """Fuzz until the process is ended; it ends itself when its memory has grown."""
    atheris = importlib.import_module("atheris")
    functions = [f for f in gc.get_objects() if isinstance(f, FunctionType) and _is_ours(f)]
    for function in functions:
        atheris.instrument_func(function)

    def read(data: bytes) -> None:
        if data:
            target = TARGETS[data[0] % len(TARGETS)]
            worker.try_input(target, data[1:])
        if worker.counts.total >= REPORT_EVERY or not worker.is_sound:
            reports.put((number, worker.counts))
            worker.counts = Counts()
        if not worker.is_sound:
            reports.close()
            reports.join_thread()
            os._exit(0)

    def damage(data: bytes, max_size: int, number_of_input: int) -> bytes:
        rng = random.Random(number_of_input)
        first = data[:1] or bytes([rng.randrange(len(TARGETS))])
        target = TARGETS[first[0] % len(TARGETS)]
        seeds = worker.corpus[target.name]
        return (first + mutated(target.name, data[1:] or rng.choice(seeds), rng, seeds))[:max_size]

    _write_corpus(worker, folder)
    options = ["fuzz", str(folder), f"-seed={seed}", f"-max_len={MOST_BYTES}", "-timeout=0", "-rss_limit_mb=0"]
    atheris.Setup([*options, "-verbosity=0", "-len_control=0"], read, custom_mutator=damage)
    atheris.Fuzz()


def _write_corpus(worker: Worker, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for first, target in enumerate(TARGETS):
        for i, data in enumerate(worker.corpus[target.name]):
            (folder / f"{target.name}-{i}").write_bytes(bytes([first]) + data)


def _is_ours(function: FunctionType) -> bool:
    return (function.__module__ or "").startswith("ttprof.")
