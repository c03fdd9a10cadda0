"""A machine that the checks of ``ttprof doctor`` see: recorded files, and counters that move during the watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ttprof.doctor.probe import Probe

CPU = "sys/devices/system/cpu"

QUIET = {
    "proc/loadavg": "0.05 0.10 0.20 1/300 4242\n",
    "proc/stat": "cpu  1000 0 100 9000 10 0 0 0 0 0\ncpu0 500 0 50 4500 5 0 0 0 0 0\ncpu1 500 0 50 4500 5 0 0 0 0 0\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000000\nfull avg10=0.00 total=0\n",
    "proc/vmstat": "pswpin 0\npswpout 7\n",
    "proc/meminfo": "MemTotal: 16000000 kB\nSwapTotal: 2048000 kB\nSwapFree: 2048000 kB\n",
    "proc/cpuinfo": "processor : 0\nflags\t\t: fpu vme sse\n",
    "proc/self/schedstat": "80218 134931 1\n",
    "proc/self/cgroup": "0::/jobs/job7\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    "proc/sys/kernel/perf_event_paranoid": "2\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 99\n",
    "sys/fs/cgroup/jobs/cpu.max": "max 100000\n",
    "sys/fs/cgroup/jobs/cpu.stat": "usage_usec 99\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
    "sys/fs/cgroup/jobs/job7/cpu.max": "max 100000\n",
    "sys/fs/cgroup/jobs/job7/cpu.stat": "usage_usec 99\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu0/cpufreq/scaling_driver": "intel_pstate\n",
    f"{CPU}/intel_pstate/no_turbo": "1\n",
    f"{CPU}/smt/active": "0\n",
}
"""Two quiet cores of a bare machine with Linux, set up for measuring, in a control group without a quota."""

QUIET_SECOND = {
    "proc/stat": "cpu  1002 0 100 9198 10 0 0 0 0 0\ncpu0 501 0 50 4599 5 0 0 0 0 0\ncpu1 501 0 50 4599 5 0 0 0 0 0\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000400\nfull avg10=0.00 total=0\n",
}
"""What the counters are a second later: 2 of 200 ticks busy, 400 µs of waiting."""


def write(root: Path, files: Mapping[str, str | None]) -> None:
    for path, text in files.items():
        file = root / path
        if text is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


def probe(
    root: Path,
    changed: Mapping[str, str | None] | None = None,
    later: Mapping[str, str] | None = None,
    answers: Mapping[str, str] | None = None,
) -> Probe:
    """A probe of a quiet machine with some files *changed* (None: missing), and *later* as they are a second later."""
    write(root, QUIET)
    write(root, changed or {})

    def ask(command: Sequence[str]) -> str | None:
        return (answers or {}).get(command[0])

    def wait(seconds: float) -> None:
        write(root, {**QUIET_SECOND, **(later or {})})

    return Probe(root, ask, wait, privileged=False, variables={})
