"""Reads Nsight Compute reports (``.ncu-rep``) into one frozen struct per profiled kernel.

NVIDIA's ``ncu_report`` (the extra ``ttprof[ncu]``) reads the file and is imported on demand. It opens any file and
returns nothing for a damaged one, so this module checks for damage first.
"""

from __future__ import annotations

import fnmatch
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError, UnknownNameError, printable
from ttprof.nsight import bottleneck, compute_metrics
from ttprof.nsight.bottleneck import Bottleneck, Ceiling, Roof, Use
from ttprof.nsight.compute_metrics import HALF, ROOFLINE, TENSOR, FloatWork, KernelMetrics, Traffic
from ttprof.system.files import open_regular

VERSION = 1
MARK = b"NVR\0"
"""The first bytes of a report (``extras/FileFormat`` of Nsight Compute); a packed one, ``.ncu-repz``, has others."""

LINKS = (
    (re.compile(r"@url:([^:@]*):[^@]*@"), r"\1"),
    (re.compile(r"@(?:section|sass):[^:@]*:([^@]*)@"), r"\1"),
    (re.compile(r"@source:[^@]*?:\d+:([^@]*)@"), r"\1"),
)
"""Links in the messages of rules, as ``ncu_report`` documents them, and their replacements."""

SPEEDUPS = {1: "local", 2: "global"}
"""``SpeedupType``: of one part of the hardware, or of the whole kernel."""

ADVICE = (2, 3)
"""``MsgType``: OPTIMIZATION and WARNING; purely informative and positive messages are left out."""

_IMPOSSIBLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What computing with values raises that are of another type than documented, or out of all proportion."""

LIMITS = ("registers", "shared_mem", "warps", "blocks", "barriers")


class Rule(msgspec.Struct, frozen=True):
    """The advice of one of NVIDIA's rules, and the speed-up it estimates: of the kernel (global) or a part (local)."""

    name: str
    title: str
    message: str
    speedup_percent: float | None
    scope: str | None


class Launch(msgspec.Struct, frozen=True):
    """How a kernel was launched; ``occupancy_limits`` are the blocks that fit on an SM by each resource."""

    grid: list[int] | None
    block: list[int] | None
    registers_per_thread: int | None
    shared_bytes_per_block: int | None
    occupancy_limits: dict[str, int]
    theoretical_occupancy_percent: float | None


class Missing(msgspec.Struct, frozen=True):
    """A number that is not in the report, and the section of ``ncu --section`` that collects it."""

    what: str
    section: str


class Kernel(msgspec.Struct, frozen=True):
    """One profiled kernel (or range, or graph: ``workload``); a number that is not in the report is None.

    ``nvtx`` has a ``domain@outer/inner`` for each domain with open ranges at the launch. ``time_ns`` is ns.
    """

    index: int
    name: str
    function: str
    workload: str
    device: str | None
    compute_capability: str | None
    nvtx: list[str]
    time_ns: int | None
    use: Use
    tensor_percent: float | None
    work: list[FloatWork]
    uncounted: list[str]
    traffic: Traffic
    roof: Roof | None
    bottleneck: Bottleneck
    launch: Launch
    rules: list[Rule]
    missing: list[Missing]


class Report(msgspec.Struct, frozen=True):
    """All kernels of a report in the order of their launches; ``reader`` is the version of ``ncu_report``."""

    version: int
    path: str
    reader: str
    ceilings: list[Ceiling]
    kernels: list[Kernel]


def read(path: str | Path) -> Report:
    """Read the report at *path*; times in ns, sizes in bytes, rates per second.

    Raises:
        TraceError: ``ncu_report`` is not installed, or the file is missing, empty, damaged or not a report.
    """
    _check(Path(path))
    module = _ncu_report()
    try:
        context = module.load_report(str(path))
    except (OSError, RuntimeError) as error:
        raise TraceError(
            f"{printable(str(path))}: ncu_report can't read it: {error}", TraceErrorCode.CORRUPT
        ) from error
    try:
        kernels = [_kernel(module, i, action) for i, action in enumerate(_actions(context))]
    except TraceError as error:
        raise TraceError(f"{printable(str(path))}: {error}", error.code) from error
    except _IMPOSSIBLE as error:
        raise TraceError(
            f"{printable(str(path))}: a kernel has an impossible value ({error}); the report is damaged: record it "
            "again",
            TraceErrorCode.IMPOSSIBLE_VALUES,
        ) from error
    reader = str(context.get_version())
    if not kernels:
        raise TraceError(
            f"{printable(str(path))}: no kernel can be read from this report; it is truncated or damaged (was ncu "
            f"stopped, or the copy incomplete?), or it is newer than ncu_report {reader}",
            TraceErrorCode.CORRUPT,
        )
    ceilings = bottleneck.ceilings((kernel.device, kernel.roof) for kernel in kernels)
    return Report(VERSION, printable(str(path)), reader, ceilings, kernels)


def matching(report: Report, glob: str) -> Report:
    """Keep the kernels whose demangled or function name matches *glob*, ignoring case.

    Raises:
        UnknownNameError: no kernel matches; suggests the nearest names.
    """
    pattern = glob.lower()
    kernels = [k for k in report.kernels if any(fnmatch.fnmatchcase(n.lower(), pattern) for n in (k.name, k.function))]
    if not kernels:
        raise UnknownNameError("kernel", glob, (kernel.function for kernel in report.kernels))
    return msgspec.structs.replace(report, kernels=kernels)


def slowest_in_range(path: Path, name: str) -> list[Kernel]:
    """The slowest launch of each kernel function in the NVTX range *name*, the slowest function first.

    Raises TraceError as ``read`` does.
    """
    slowest: dict[str, Kernel] = {}
    for kernel in slowest_first(read(path)):
        if any(f"/{name}/" in f"/{ranges.partition('@')[2]}/" for ranges in kernel.nvtx):
            slowest.setdefault(kernel.function, kernel)
    return list(slowest.values())


def slowest_first(report: Report) -> list[Kernel]:
    """The kernels by time, in launch order if equal; those without a time come last."""
    return sorted(report.kernels, key=lambda kernel: -(kernel.time_ns or 0))


def _check(path: Path) -> None:
    """Raise TraceError for a damaged file, which ``ncu_report`` would open as an empty report."""
    name = printable(str(path))
    try:
        with open_regular(path) as file:
            start = file.read(8)
            size = file.seek(0, 2)
    except OSError as error:
        raise TraceError.from_os(name, error) from error
    if not start:
        raise TraceError(f"{name}: the file is empty; ncu was stopped before it wrote the report", TraceErrorCode.EMPTY)
    if path.suffix == ".ncu-repz":
        return
    if start[: len(MARK)] != MARK[: len(start)]:
        raise TraceError(
            f"{name}: not a report of Nsight Compute (ncu -o NAME writes NAME.ncu-rep)", TraceErrorCode.NOT_A_TRACE
        )
    if size < 8 + int.from_bytes(start[4:8], "little"):
        raise TraceError(f"{name}: the report is truncated within its header", TraceErrorCode.TRUNCATED)


def _ncu_report() -> Any:
    try:
        return importlib.import_module("ncu_report")
    except ImportError as error:
        text = f'reading a report of Nsight Compute needs ncu_report: pip install "ttprof[ncu]" ({error})'
        raise TraceError(text, TraceErrorCode.READER_MISSING) from error


def _actions(context: Any) -> Iterator[Any]:
    for i in range(context.num_ranges()):
        part = context.range_by_idx(i)
        for j in range(part.num_actions()):
            yield part.action_by_idx(j)


def _kernel(module: Any, index: int, action: Any) -> Kernel:
    kinds = module.IAction
    function = action.name(kinds.NameBase_FUNCTION)
    numbers = KernelMetrics(action)
    if function is None or not numbers.names:
        raise TraceError(
            f"kernel {index + 1} can't be read: the report is truncated or damaged", TraceErrorCode.CORRUPT
        )
    use, traffic = _use(numbers), compute_metrics.traffic(numbers)
    work = compute_metrics.work(numbers)
    uncounted = compute_metrics.uncounted(numbers, work)
    roof = None if uncounted else bottleneck.roof(work, traffic)
    seconds = numbers.get(compute_metrics.TIME)
    version = [numbers.count(f"device__attribute_compute_capability_{part}") for part in ("major", "minor")]
    return Kernel(
        index=index,
        name=printable(action.name(kinds.NameBase_DEMANGLED) or function),
        function=printable(function),
        workload=printable(_workload(kinds, action.workload_type())),
        device=printable(numbers.text("device__attribute_display_name") or "") or None,
        compute_capability=None if None in version else f"{version[0]}.{version[1]}",
        nvtx=_nvtx(action.nvtx_state()),
        time_ns=None if seconds is None else round(seconds * 1e9),
        use=use,
        tensor_percent=compute_metrics.tensor_percent(numbers),
        work=work,
        uncounted=uncounted,
        traffic=traffic,
        roof=roof,
        bottleneck=bottleneck.judge(use, traffic, roof, uncounted),
        launch=_launch(numbers),
        rules=list(_rules(action)),
        missing=_missing(use, traffic, work, uncounted, seconds),
    )


def _use(numbers: KernelMetrics) -> Use:
    return Use(
        sm=numbers.get("sm__throughput.avg.pct_of_peak_sustained_elapsed"),
        memory=numbers.get("gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed"),
        dram=numbers.get(
            "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
            "dram__throughput.avg.pct_of_peak_sustained_elapsed",
        ),
        l2=numbers.get("lts__throughput.avg.pct_of_peak_sustained_elapsed"),
        l1=numbers.get("l1tex__throughput.avg.pct_of_peak_sustained_active"),
        occupancy=numbers.get("sm__warps_active.avg.pct_of_peak_sustained_active"),
        waves=numbers.get("launch__waves_per_multiprocessor"),
    )


def _launch(numbers: KernelMetrics) -> Launch:
    limits = {name: numbers.count(f"launch__occupancy_limit_{name}") for name in LIMITS}
    return Launch(
        grid=_dimensions(numbers, "grid"),
        block=_dimensions(numbers, "block"),
        registers_per_thread=numbers.count("launch__registers_per_thread"),
        shared_bytes_per_block=numbers.count("launch__shared_mem_per_block"),
        occupancy_limits={name: limit for name, limit in limits.items() if limit is not None},
        theoretical_occupancy_percent=numbers.get("sm__maximum_warps_per_active_cycle_pct"),
    )


def _dimensions(numbers: KernelMetrics, of: str) -> list[int] | None:
    counts = [numbers.count(f"launch__{of}_dim_{axis}") for axis in "xyz"]
    sizes = [count for count in counts if count is not None]
    return sizes if len(sizes) == len(counts) else None


def _workload(kinds: Any, number: int) -> str:
    names = ("KERNEL", "RANGE", "CMDLIST", "GRAPH", "SUBGRID_SCHEDULE")
    by_number = {getattr(kinds, f"WorkloadType_{name}", None): name.lower() for name in names}
    return by_number.get(number, f"type {number}")


def _nvtx(state: Any) -> list[str]:
    """The ranges open at the launch, outermost first, in the syntax of ``ncu --nvtx-include``."""
    ranges = []
    for number in () if state is None else state.domains():
        domain = state.domain_by_id(number)
        stack = [domain.push_pop_range(i).name() for i in range(len(domain.push_pop_ranges()))]
        crossing = [f"{domain.name()}@{name}" for name in domain.start_end_ranges()]
        ranges += ([f"{domain.name()}@{'/'.join(stack)}"] if stack else []) + crossing
    return list(map(printable, ranges))


def _rules(action: Any) -> Iterator[Rule]:
    """The advice of NVIDIA's rules: by estimated speed-up of the whole kernel, then of parts of it, then the rest."""
    rules = [rule for result in action.rule_results() if (rule := _rule(result)) is not None]
    ranks = {"global": 0, "local": 1, None: 2}
    yield from sorted(rules, key=lambda rule: (ranks[rule.scope], -(rule.speedup_percent or 0.0)))


def _rule(result: Any) -> Rule | None:
    if not result.has_rule_message():
        return None
    advice = result.rule_message()
    if int(advice["type"]) not in ADVICE:
        return None
    message = printable(advice["message"])
    for pattern, replacement in LINKS:
        message = pattern.sub(replacement, message)
    scope, speedup = None, None
    if result.has_speedup_estimation():
        estimate = result.speedup_estimation()
        scope, speedup = SPEEDUPS.get(int(estimate["type"])), float(estimate["speedup"])
    return Rule(printable(result.name()), printable(advice["title"]), message, speedup if scope else None, scope)


def _missing(
    use: Use, traffic: Traffic, work: list[FloatWork], uncounted: list[str], seconds: float | None
) -> list[Missing]:
    """The numbers that are not in the report, and the ``ncu --section`` that collects them."""
    kinds = {part.kind for part in work}
    is_missing = {
        ("time", "SpeedOfLight"): seconds is None,
        ("SM throughput", "SpeedOfLight"): use.sm is None,
        ("memory throughput", "SpeedOfLight"): use.memory is None,
        ("DRAM throughput", "SpeedOfLight"): use.dram is None,
        ("achieved occupancy", "Occupancy"): use.occupancy is None,
        ("DRAM bytes", "MemoryWorkloadAnalysis"): traffic.bytes_per_s is None,
        ("peak DRAM bandwidth", ROOFLINE): traffic.peak_bytes_per_s is None,
        ("fp32 FLOPs", ROOFLINE): "fp32" not in kinds,
        ("fp64 FLOPs", ROOFLINE): "fp64" not in kinds,
        ("fp16 FLOPs", HALF): "fp16" not in kinds,
        ("tensor core FLOPs", TENSOR): "tensor" in uncounted,
    }
    return [Missing(number, section) for (number, section), missing in is_missing.items() if missing]
