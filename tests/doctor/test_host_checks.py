"""The checks of load and processor, from recorded files of /proc and /sys."""

from __future__ import annotations

import pytest
from machines_of_doctor import CPU, probe

from ttprof.doctor import cgroup, checks, cpu, load
from ttprof.doctor.diagnosis import Diagnosis
from ttprof.machine import CheckStatus

HYPERVISOR = {"proc/cpuinfo": "processor : 0\nflags\t\t: fpu hypervisor sse\n"}
NO_CPUFREQ = {f"{CPU}/cpu0/cpufreq/scaling_governor": None, f"{CPU}/cpu0/cpufreq/scaling_driver": None}


def check(name: str, root, changed=None, later=None) -> Diagnosis:
    checked = probe(root, changed, later).watched(
        [load.STAT, load.PRESSURE, load.VMSTAT, *(group.stat for group in cgroup.groups(probe(root, changed)))]
    )
    by_name = {name: function for group in checks.OF_THE_HOST.values() for name, function in group.items()}
    return by_name[name](checked)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("load", "0.05 over a minute, 0.0 of 2 cores busy now"),
        ("pressure", "threads waited for a core 0 % of a second"),
        ("stolen time", "0.0 % of a second"),
        ("swap", "none used"),
        ("quota", "none in the groups visible here"),
        ("throttling", "never"),
        ("governor", "performance"),
        ("turbo", "off"),
        ("SMT", "one hardware thread per core"),
        ("clock source", "tsc"),
        ("run delay", "counted"),
        ("instructions", "perf_event_paranoid 2"),
    ],
)
def test_a_quiet_machine_is_ok(tmp_path, name, seen):
    assert check(name, tmp_path) == Diagnosis(CheckStatus.OK, seen)


def stat(busy: int, idle: int, steal: int = 0) -> dict[str, str]:
    """The counters when these ticks have been added to those of the quiet machine."""
    total = f"cpu  {1000 + busy} 0 100 {9000 + idle} 10 0 0 {steal} 0 0"
    return {"proc/stat": f"{total}\ncpu0 1 0 0 0 0\ncpu1 1 0 0 0 0\n"}


@pytest.mark.parametrize(
    ("name", "changed", "later", "status", "seen"),
    [
        ("load", {"proc/loadavg": "2.01 1 1 1/1 1"}, stat(0, 200), "unsafe", "2.01 over a minute, 0.0 of 2 cores busy"),
        ("load", {}, stat(180, 20), "unsafe", "0.05 over a minute, 1.8 of 2 cores busy now"),
        ("load", {}, stat(50, 150), "warning", "0.5 of 2 cores busy now"),
        ("load", {}, stat(48, 152), "ok", "0.5 of 2 cores busy now"),
        ("stolen time", {}, stat(10, 180, 10), "unsafe", "5.0 % of a second"),
        ("stolen time", {}, stat(10, 188, 2), "warning", "1.0 % of a second"),
        ("pressure", {}, {"proc/pressure/cpu": "some avg10=9 total=5250000\n"}, "unsafe", "25 % of a second"),
        ("pressure", {}, {"proc/pressure/cpu": "some avg10=9 total=5050000\n"}, "warning", "5 % of a second"),
        ("pressure", {}, {"proc/pressure/cpu": "some avg10=9 total=5040000\n"}, "ok", "4 % of a second"),
        ("swap", {}, {"proc/vmstat": "pswpin 3\npswpout 9\n"}, "unsafe", "5 pages moved in a second, 0 MB swapped"),
        ("swap", {"proc/meminfo": "SwapTotal: 2048 kB\nSwapFree: 1024 kB\n"}, {}, "warning", "1 MB swapped"),
        ("swap", {"proc/meminfo": "SwapTotal: 0 kB\nSwapFree: 0 kB\n"}, {}, "ok", "none configured"),
        (
            "governor",
            {f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave"},
            {},
            "warning",
            "the clock follows the load",
        ),
        (
            "governor",
            {
                f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
                f"{CPU}/cpu0/cpufreq/scaling_driver": "acpi-cpufreq",
            },
            {},
            "unsafe",
            "powersave: the lowest clock",
        ),
        ("governor", {f"{CPU}/cpu1/cpufreq/scaling_governor": "schedutil"}, {}, "warning", "performance and schedutil"),
        ("turbo", {f"{CPU}/intel_pstate/no_turbo": "0"}, {}, "warning", "on: the clock depends on heat"),
        ("turbo", {f"{CPU}/intel_pstate/no_turbo": None, f"{CPU}/cpufreq/boost": "1"}, {}, "warning", "on"),
        ("turbo", {f"{CPU}/intel_pstate/no_turbo": None, f"{CPU}/cpufreq/boost": "0"}, {}, "ok", "off"),
        ("SMT", {f"{CPU}/smt/active": "1"}, {}, "warning", "two hardware threads share a core"),
        (
            "clock source",
            {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"},
            {},
            "warning",
            "hpet: slow to read",
        ),
        ("run delay", {"proc/self/schedstat": None}, {}, "warning", "preempted iterations go unnoticed"),
        ("instructions", {"proc/sys/kernel/perf_event_paranoid": "4"}, {}, "warning", "users may not count"),
    ],
)
def test_what_is_wrong_has_a_status_and_a_change(tmp_path, name, changed, later, status, seen):
    diagnosis = check(name, tmp_path, changed, later)
    assert diagnosis.status == status
    assert seen in diagnosis.seen
    assert bool(diagnosis.change) is (status != "ok")


@pytest.mark.parametrize(
    ("name", "changed", "unseen"),
    [
        ("governor", {**HYPERVISOR, **NO_CPUFREQ}, "the host of this virtual machine decides it"),
        ("governor", NO_CPUFREQ, "the kernel has no driver for clocks (cpufreq)"),
        ("turbo", {f"{CPU}/intel_pstate/no_turbo": None}, "the kernel has no switch for it"),
        ("turbo", {**HYPERVISOR, f"{CPU}/intel_pstate/no_turbo": None}, "the host of this virtual machine decides it"),
        ("SMT", {f"{CPU}/smt/active": None}, f"/{CPU}/smt is missing"),
        ("pressure", {"proc/pressure/cpu": "garbage"}, "the kernel does not count it: boot with psi=1"),
        ("load", {"proc/loadavg": None}, "/proc/loadavg or /proc/stat can't be read"),
        ("quota", {"proc/self/cgroup": None}, "no control group with a CPU controller is visible"),
        ("instructions", HYPERVISOR, "this virtual machine has no hardware counters"),
        ("instructions", {"proc/sys/kernel/perf_event_paranoid": None}, "the kernel has no perf events"),
    ],
)
def test_what_can_not_be_read_is_unknown_and_says_why(tmp_path, name, changed, unseen):
    later = {"proc/pressure/cpu": "garbage"} if name == "pressure" else {}
    diagnosis = check(name, tmp_path, changed, later)
    assert (diagnosis.status, diagnosis.unseen) == (CheckStatus.UNKNOWN, unseen)


@pytest.mark.parametrize("unit", ["cpu", "cpu_core", "armv8_pmuv3_0"])
def test_a_virtual_machine_may_have_counters(tmp_path, unit):
    changed = {**HYPERVISOR, f"sys/bus/event_source/devices/{unit}/type": "4"}
    assert check("instructions", tmp_path, changed).status is CheckStatus.OK


def test_root_may_count_instructions_whatever_users_may(tmp_path):
    import dataclasses

    restricted = probe(tmp_path, {"proc/sys/kernel/perf_event_paranoid": "4"})
    assert cpu.instructions(dataclasses.replace(restricted, privileged=True)).status is CheckStatus.OK


@pytest.mark.parametrize(
    ("supplies", "status"),
    [
        ({"AC/type": "Mains", "AC/online": "0", "BAT0/type": "Battery"}, "warning"),
        ({"AC/type": "Mains", "AC/online": "1"}, "ok"),
        ({"USB/type": "USB", "USB/online": "0"}, None),
    ],
)
def test_a_battery_is_a_warning(tmp_path, supplies, status):
    diagnosis = check("power", tmp_path, {f"sys/class/power_supply/{path}": text for path, text in supplies.items()})
    assert (diagnosis and diagnosis.status) == status


JOB, JOBS = "sys/fs/cgroup/jobs/job7", "sys/fs/cgroup/jobs"
V1 = {
    "proc/self/cgroup": "5:devices:/\n4:cpu,cpuacct:/docker/abc\n0::/\n",
    "proc/self/mountinfo": "33 31 0:30 /docker/abc /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 2500000000\n",
}


@pytest.mark.parametrize(
    ("changed", "cores"),
    [
        ({f"{JOB}/cpu.max": "150000 100000"}, 1.5),
        ({f"{JOB}/cpu.max": "150000 100000", f"{JOBS}/cpu.max": "50000 100000"}, 0.5),
        ({f"{JOB}/cpu.max": "50000 100000", f"{JOBS}/cpu.max": "150000 100000"}, 0.5),
        (V1, 1.5),
        ({**V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, None),
        ({f"{JOB}/cpu.max": "damaged"}, None),
    ],
    ids=["v2", "the ancestor is tighter", "the group is tighter", "v1 in a container", "v1 without", "damaged"],
)
def test_the_tightest_quota_of_the_group_and_its_ancestors(tmp_path, changed, cores):
    assert cgroup.tightest(probe(tmp_path, changed)) == cores


def test_a_quota_below_the_cores_is_a_warning_and_one_above_is_not(tmp_path):
    below = check("quota", tmp_path, {f"{JOB}/cpu.max": "150000 100000"})
    assert (below.status, below.seen) == ("warning", "1.5 of 2 cores: more threads than that are throttled")
    above = check("quota", tmp_path, {f"{JOB}/cpu.max": "400000 100000"})
    assert (above.status, above.seen) == ("ok", "4 of 2 cores")


def test_throttling_now_is_unsafe_and_before_a_warning(tmp_path):
    before = {f"{JOBS}/cpu.stat": "nr_periods 90\nnr_throttled 40\nthrottled_usec 2500000\n"}
    earlier = check("throttling", tmp_path, before)
    assert (earlier.status, earlier.seen) == ("warning", "40 times since the group began, 2.5 s in all")
    now = check("throttling", tmp_path, before, {f"{JOBS}/cpu.stat": before[f"{JOBS}/cpu.stat"].replace("40", "43")})
    assert (now.status, now.seen) == ("unsafe", "3 times in the last second")


def test_throttled_time_of_v1_is_in_nanoseconds(tmp_path):
    assert check("throttling", tmp_path, V1).seen == "4 times since the group began, 2.5 s in all"
