"""The CPU quota of the control groups of this process, and how often they were throttled (cgroup v1 and v2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ttprof.doctor.diagnosis import Diagnosis, ok, unknown, unsafe, warning
from ttprof.doctor.probe import Probe, keyed

PER_SECOND = {"throttled_usec": 1e6, "throttled_time": 1e9}
"""The counters of throttled time in cpu.stat, with their units in a second: of v2, and of v1."""

LIFT = "raise the quota (docker --cpus, Kubernetes limits.cpu), or none for the test"


@dataclass(frozen=True)
class Group:
    """A control group that bounds the CPU of this process: its folder, and its quota in cores if it has one."""

    folder: str
    quota: float | None

    @property
    def stat(self) -> str:
        """The path of its counters."""
        return f"{self.folder}/cpu.stat"


def groups(probe: Probe) -> list[Group]:
    """The groups of this process that bound its CPU, up to the outermost that is visible."""
    memberships = [line.split(":", 2) for line in (probe.text("proc/self/cgroup") or "").splitlines()]
    of_v1 = next((path for _, names, path in memberships if "cpu" in names.split(",")), None)
    of_v2 = next((path for number, _, path in memberships if number == "0"), None)
    visible: list[Group] = []
    for line in (probe.text("proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        if len(before.split()) < 5 or len(after.split()) < 3:
            continue
        root, mount = before.split()[3:5]
        kind, options = after.split()[0], after.split()[2].split(",")
        path = of_v2 if kind == "cgroup2" else of_v1 if kind == "cgroup" and "cpu" in options else None
        if path is not None:
            visible += [Group(folder, _quota(probe, folder)) for folder in _levels(path, root, mount)]
    return [group for group in visible if probe.text(group.stat) is not None]


def _levels(path: str, root: str, mount: str) -> list[str]:
    """The folders of a group and of its ancestors below a mount of the hierarchy from *root*."""
    inner = PurePosixPath(path)
    within = inner.relative_to(root) if inner.is_relative_to(root) else PurePosixPath()
    folder = PurePosixPath(mount.lstrip("/"))
    return [str(folder / level) for level in (within, *within.parents)]


def _quota(probe: Probe, folder: str) -> float | None:
    """The cores of a group's quota; None without a quota."""
    words = (probe.text(f"{folder}/cpu.max") or "").split()
    if not words:
        words = [probe.text(f"{folder}/cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def tightest(probe: Probe) -> float | None:
    """The smallest quota, in cores, of all groups of this process; None without one."""
    return min((group.quota for group in groups(probe) if group.quota is not None), default=None)


def quota(probe: Probe) -> Diagnosis:
    """Whether a quota gives this process less than the cores."""
    visible = groups(probe)
    if not visible:
        return unknown("no control group with a CPU controller is visible")
    smallest = tightest(probe)
    if smallest is None:
        return ok("none in the groups visible here")
    seen = f"{smallest:g} of {probe.cores} cores"
    if smallest >= probe.cores:
        return ok(seen)
    return warning(f"{seen}: more threads than that are throttled", LIFT)


def throttling(probe: Probe) -> Diagnosis:
    """Whether a quota stopped this process or others of its groups, now or before."""
    counters = [(keyed(probe.earlier.get(group.stat)), keyed(probe.text(group.stat))) for group in groups(probe)]
    counters = [(before, now) for before, now in counters if "nr_throttled" in now]
    if not counters:
        return unknown("no control group counts it")
    recent = max(now["nr_throttled"] - before.get("nr_throttled", now["nr_throttled"]) for before, now in counters)
    total, stopped = max((now["nr_throttled"], _seconds(now)) for _, now in counters)
    if recent > 0:
        return unsafe(f"{recent} times in the last second", LIFT)
    if total:
        return warning(f"{total} times since the group began, {stopped:.3g} s in all", LIFT)
    return ok("never")


def _seconds(counters: dict[str, int]) -> float:
    return max((counters[key] / unit for key, unit in PER_SECOND.items() if key in counters), default=0.0)
