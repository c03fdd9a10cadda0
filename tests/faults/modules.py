"""What a module can do to the process that tests it."""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

FAULTS: dict[str, Callable[[Any], object]] = {}
"""The faults by name; each gets the module."""


def fault(run: Callable[[Any], object]) -> Callable[[Any], object]:
    FAULTS[run.__name__] = run
    return run


class Weird(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@fault
def none(module):
    pass


# Exceptions


@fault
def value_error(module):
    raise ValueError("wrong value")


@fault
def system_exit(module):
    sys.exit(0)


@fault
def system_exit_3(module):
    sys.exit(3)


@fault
def base_exception(module):
    raise Weird("weird")


@fault
def generator_exit(module):
    raise GeneratorExit


@fault
def stop_iteration(module):
    raise StopIteration("stop")


@fault
def memory_error(module):
    raise MemoryError


@fault
def unprintable(module):
    raise Unprintable


@fault
def huge_message(module):
    raise ValueError("z" * 10**7)


@fault
def escape_sequences(module):
    raise ValueError("\x1b[2J\x1b]0;title\x07::error::x\n::set-env name=A::b")


@fault
def recursion(module):
    recursion(module)


@fault
def too_large_a_tensor(module):
    torch.empty(1 << 50)


@fault
def lost_cuda_device(module):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


# Ends of the process


@fault
def segmentation_fault(module):
    ctypes.string_at(0)


@fault
def os_exit(module):
    os._exit(7)


@fault
def os_exit_0(module):
    os._exit(0)


@fault
def library_exit(module):
    ctypes.CDLL(None).exit(0)


@fault
def abort(module):
    os.abort()


@fault
def stack_overflow(module):
    sys.setrecursionlimit(10**9)
    nested: Any = []
    for _ in range(10**6):
        nested = [nested]
    repr(nested)


@fault
def killed(module):
    os.kill(os.getpid(), signal.SIGKILL)


@fault
def terminated(module):
    os.kill(os.getpid(), signal.SIGTERM)


@fault
def hung_up(module):
    os.kill(os.getpid(), signal.SIGHUP)


@fault
def interrupted(module):
    os.kill(os.getpid(), signal.SIGINT)


@fault
def floating_point_exception(module):
    os.kill(os.getpid(), signal.SIGFPE)


@fault
def alarm(module):
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    time.sleep(3600)


@fault
def fills_memory(module):
    hoard = []
    while True:
        hoard.append(bytearray(b"x") * (64 << 20))


# Code that does not end


@fault
def busy_loop(module):
    while True:
        pass


@fault
def sleep(module):
    time.sleep(3600)


@fault
def dead_lock(module):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@fault
def swallows_everything(module):
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            continue


@fault
def dead_lock_with_the_interpreter_locked(module):
    ctypes.PyDLL(None).pause()


# Processes and threads


@fault
def forks_and_waits(module):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@fault
def forks_and_goes_on(module):
    if "forked" not in STATE:
        STATE.add("forked")
        os.fork()


@fault
def leaves_orphans(module):
    if "orphaned" not in STATE:
        STATE.add("orphaned")
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    time.sleep(3600)
            os._exit(0)


@fault
def leaves_a_thread(module):
    if "thread" not in STATE:
        STATE.add("thread")
        threading.Thread(target=time.sleep, args=(3600,), name="left-behind").start()


@fault
def leaves_daemons(module):
    if threading.active_count() < 10:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


@fault
def ends_a_child(module):
    """As a pool does: the child must end at once, although it waits for a lock."""
    child = multiprocessing.get_context("fork").Process(target=threading.Event().wait, daemon=True)
    child.start()
    child.terminate()
    child.join()


STATE: set[str] = set()

# Settings of the process


@fault
def random_state(module):
    torch.manual_seed(999)
    random.seed(1)
    np.random.seed(1)


@fault
def thread_count(module):
    torch.set_num_threads(2 if torch.get_num_threads() == 1 else 1)


@fault
def default_dtype(module):
    torch.set_default_dtype(torch.float64)


@fault
def deterministic(module):
    torch.use_deterministic_algorithms(True)


@fault
def gradients_on(module):
    torch.set_grad_enabled(True)


@fault
def environment(module):
    os.environ.clear()


@fault
def other_folder(module):
    os.chdir(tempfile.gettempdir())


@fault
def removed_folder(module):
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)


@fault
def garbage_collection_off(module):
    gc.disable()


@fault
def recursion_limit(module):
    sys.setrecursionlimit(max(200, len(__import__("inspect").stack()) + 20))


@fault
def warnings_by_the_thousand(module):
    for number in range(1000):
        warnings.warn(f"warning {number}", stacklevel=1)


@fault
def a_lot_of_output(module):
    if "printed" not in STATE:
        STATE.add("printed")
        print(("y" * 99 + "\n") * 100_000)


@fault
def trace_function(module):
    sys.settrace(lambda *arguments: None)


@fault
def started_profiler(module):
    if "profiler" not in STATE:
        STATE.add("profiler")
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]).start()


@fault
def own_profiler(module):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        pass


@fault
def replaced_json(module):
    json.dumps = None  # type: ignore[assignment]


@fault
def replaced_hook(module):
    sys.excepthook = None  # type: ignore[assignment]


# Files


@fault
def closed_output(module):
    if "closed" not in STATE:
        STATE.add("closed")
        os.close(1)
        os.close(2)


@fault
def closed_streams(module):
    sys.stdout.close()


@fault
def no_streams(module):
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


@fault
def removed_run(module):
    for folder in Path(os.environ["TRACES"]).iterdir():
        shutil.rmtree(folder, ignore_errors=True)


@fault
def removed_traces(module):
    shutil.rmtree(os.environ["TRACES"], ignore_errors=True)


@fault
def run_removed_once(module):
    marker = Path(os.environ["TMPDIR"], "removed")
    if not marker.exists():
        marker.touch()
        shutil.rmtree(os.environ["TRACES"], ignore_errors=True)


@fault
def traces_become_a_file(module):
    shutil.rmtree(os.environ["TRACES"], ignore_errors=True)
    Path(os.environ["TRACES"]).touch()


@fault
def file_size_limit(module):
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


@fault
def no_more_files(module):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


@fault
def leaked_files(module):
    LEAKED.append(Path(os.devnull).open("rb"))  # noqa: SIM115


LEAKED: list[Any] = []
