"""Runs a command so that nothing of it outlives its supervisor: a program of its own, and only the standard library.

``python -I -S guard.py STATUS LIFE COMMAND…`` starts the command, writes ``started PID`` and at its end ``ended
WAITSTATUS`` to the descriptor STATUS, and then ends whatever the command left behind. When the descriptor LIFE reaches
its end, because the supervisor closed it or died, it ends the command and all its descendants at once.
"""

import ctypes
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # from linux/prctl.h

SWEEP_S = 5.0
"""How long to go on ending descendants that appear while others are ended."""


def prctl(option: int, value: int) -> None:
    """Call prctl where there is one: only Linux tells a child that its parent died, and adopts its orphans."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def start(command: list[str], inherited: tuple[int, ...]) -> int:
    """Start *command* in a session of its own, without the descriptors *inherited*; return its process id."""
    guard = os.getpid()
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before prctl
            os._exit(1)
        for descriptor in inherited:
            os.close(descriptor)
        prefer_to_kill()
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} can't be run: {error.strerror}\n".encode())
    os._exit(127)


def prefer_to_kill() -> None:
    """Tell the system to end this process rather than its supervisor when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("800")
    except OSError:
        return


def wait(process: int, life: int, wakeup: int) -> int | None:
    """Wait for *process* and return its wait status; None if the supervisor is gone."""
    while True:
        ready, _, _ = select.select([life, wakeup], [], [])
        if wakeup in ready:
            os.read(wakeup, 4096)
        status = reap(process)
        if status is not None:
            return status
        if life in ready and not os.read(life, 4096):
            return None


def reap(process: int) -> int | None:
    """Collect ended children; return the wait status of *process* if it is among them."""
    status = None
    while True:
        try:
            ended, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if ended == 0:
            return status
        if ended == process:
            status = code


def children() -> list[int]:
    """The process ids of this process's children, orphans of its descendants included; empty without /proc."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            if parent == os.getpid():
                found.append(int(name))
    return found


def end_all(process: int) -> None:
    """End *process*, its session and all other descendants."""
    deadline = time.monotonic() + SWEEP_S
    while time.monotonic() < deadline:
        for target, kill in [(process, os.killpg), *((child, os.kill) for child in children())]:
            try:
                kill(target, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        reap(process)
        if not children():
            return
        time.sleep(0.005)


def main(status: int, life: int, command: list[str]) -> None:
    """Run *command* as the docstring of this file says."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    process = start(command, (status, life, reading, writing))
    os.write(status, f"started {process}\n".encode())
    code = wait(process, life, reading)
    end_all(process)
    if code is not None:
        os.write(status, f"ended {code}\n".encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
