"""Reports of Nsight Compute: the numbers of kernels, their bottleneck, and unreadable files."""

from __future__ import annotations

import builtins
import importlib
import sys
from pathlib import Path

import msgspec
import ncu_fakes as fakes
import pytest
from ncu_fakes import FULL, IAction, INvtxDomainInfo, INvtxState, IRuleResult

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError, UnknownNameError
from ttprof.nsight import bottleneck, compute_report
from ttprof.nsight.bottleneck import Use
from ttprof.nsight.compute_metrics import KernelMetrics, Traffic, tensor_percent, traffic, work


@pytest.fixture
def report(monkeypatch, tmp_path):
    def read(*actions: IAction) -> compute_report.Report:
        monkeypatch.setitem(sys.modules, "ncu_report", fakes.module(*actions))
        path = tmp_path / "fake.ncu-rep"
        path.write_bytes(fakes.HEADER)
        return compute_report.read(path)

    return read


def without(*names: str) -> dict:
    return {name: value for name, value in FULL.items() if not any(part in name for part in names)}


def per_cycle(letter: str, add: float, mul: float, fma: float) -> dict:
    ops = {"add": add, "mul": mul, "fma": fma}
    name = "smsp__sass_thread_inst_executed_op_{}{}_pred_on.sum.per_cycle_elapsed"
    return {name.format(letter, op): (value, "inst/cycle") for op, value in ops.items()}


def test_a_kernel_has_its_numbers(report):
    (kernel,) = report(IAction()).kernels
    assert (kernel.name, kernel.function, kernel.workload) == ("void kernel<float>(int)", "kernel", "kernel")
    assert (kernel.device, kernel.compute_capability, kernel.time_ns) == ("Fake GPU", "9.0", 2000)
    assert kernel.use == Use(sm=22, memory=71, dram=71, l2=30, l1=25, occupancy=50, waves=3.5)
    assert kernel.traffic == Traffic(dram_bytes=4e6, bytes_per_s=2e12, peak_bytes_per_s=3e12)
    (fp32,) = kernel.work
    assert (fp32.kind, fp32.flops, fp32.flops_per_s, fp32.peak_flops_per_s) == ("fp32", 1e6, 5e11, 6e12)
    assert kernel.roof is not None
    assert (kernel.roof.intensity, kernel.roof.ridge, kernel.roof.side) == (0.25, 2.0, "memory")
    assert (kernel.launch.grid, kernel.launch.block) == ([132, 2, 1], [256, 1, 1])
    assert (kernel.launch.registers_per_thread, kernel.launch.shared_bytes_per_block) == (40, 2000)
    assert kernel.launch.occupancy_limits == {"registers": 6, "warps": 8}
    assert kernel.bottleneck.sentence == (
        "memory-bound: DRAM at 71 % of its peak (it moved 2 of 3 TB/s, 67 %); SM at 22 %; "
        "at 0.25 FLOP/byte the roof of fp32 is memory (0.5 of 6 TFLOP/s of fp32)"
    )
    assert [(number.what, number.section) for number in kernel.missing] == [
        ("fp64 FLOPs", "SpeedOfLight_RooflineChart"),
        ("fp16 FLOPs", "SpeedOfLight_HierarchicalHalfRooflineChart"),
    ]


def test_rates_per_cycle_as_in_the_full_set():
    metrics = without("op_f") | per_cycle("d", 10, 20, 5) | per_cycle("f", 0, 0, 0)
    metrics["smsp__cycles_elapsed.avg.per_second"] = (500.0, "Mhz")
    fp64, fp32 = work(KernelMetrics(IAction(metrics)))
    assert (fp64.kind, fp64.flops_per_s, fp64.flops) == ("fp64", 40 * 500e6, pytest.approx(40_000))
    assert (fp32.kind, fp32.flops, fp64.peak_flops_per_s) == ("fp32", 0, None)


@pytest.mark.parametrize(
    ("value", "unit", "ns"),
    [
        (2000.0, "ns", 2000),
        (2000, "nsecond", 2000),
        (2.0, "usecond", 2000),
        (2.0, "ms", 2_000_000),
        (1, "second", 10**9),
    ],
)
def test_units_are_converted(report, value, unit, ns):
    (kernel,) = report(IAction(FULL | {"gpu__time_duration.sum": (value, unit)})).kernels
    assert kernel.time_ns == ns


@pytest.mark.parametrize("unit", ["byte", "Kbyte", "Mbyte", "Gbyte", "Tbyte"])
def test_bytes_have_prefixes_of_1000(unit):
    metrics = {"dram__bytes.sum": (3.0, unit)}
    power = ["byte", "Kbyte", "Mbyte", "Gbyte", "Tbyte"].index(unit)
    assert traffic(KernelMetrics(IAction(metrics))) == Traffic(3.0 * 1000**power, None, None)


@pytest.mark.parametrize("bad", [(1.0, "furlong"), (1.0, "byte/furlong"), ("fast", "ns")])
def test_an_unknown_unit_or_value_is_an_error_that_names_the_metric(report, bad):
    with pytest.raises(TraceError, match=r"fake\.ncu-rep: the metric gpu__time_duration\.sum"):
        report(IAction(FULL | {"gpu__time_duration.sum": bad}))


def test_bytes_are_computed_from_their_rate_if_not_counted():
    metrics = {"dram__bytes.sum.per_second": (2.0, "Tbyte/s"), "gpu__time_duration.sum": (3.0, "us")}
    assert traffic(KernelMetrics(IAction(metrics))) == Traffic(pytest.approx(6e6), 2e12, None)
    only_read = {"dram__bytes_read.sum": (5.0, "byte"), "gpu__time_duration.sum": (3.0, "us")}
    assert traffic(KernelMetrics(IAction(only_read))) == Traffic(None, None, None)


def test_tensor_work_counts_each_type_once():
    ops = {
        f"{fakes.TENSOR}.sum": (4e6, ""),
        f"{fakes.TENSOR}_sparsity_off.sum": (4e6, ""),  # a part of the one above
        f"{fakes.TENSOR}.sum.peak_sustained": (1e6, "/cycle"),
        "sm__ops_path_tensor_src_bf16_dst_fp32_sparsity_off.sum.per_cycle_elapsed": (1000.0, "/cycle"),
        "sm__ops_path_tensor_src_int8.sum": (9e9, ""),  # integer operations are not FLOPs
    }
    tensor, fp32 = work(KernelMetrics(IAction(FULL | ops)))
    assert (tensor.kind, tensor.flops, tensor.flops_per_s) == ("tensor", pytest.approx(6e6), pytest.approx(3e12))
    assert (tensor.peak_flops_per_s, fp32.kind) == (1e15, "fp32")


@pytest.mark.parametrize("counted", [{}, {f"{fakes.TENSOR}.sum": (0.0, "")}])
def test_uncounted_tensor_cores_give_no_roofline_position(report, counted):
    busy = {
        fakes.TENSOR_BUSY: (45.0, "%"),
        "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active": (9.0, "%"),
    }
    result = report(IAction(FULL | busy | counted))
    (kernel,) = result.kernels
    assert (kernel.tensor_percent, kernel.uncounted, kernel.roof, result.ceilings) == (45.0, ["tensor"], None, [])
    assert "the tensor cores ran, but the report does not count their FLOPs" in kernel.bottleneck.sentence
    assert any(number.what == "tensor core FLOPs" for number in kernel.missing)


def test_idle_and_counted_tensor_cores_are_not_uncounted(report):
    idle = FULL | {fakes.TENSOR_BUSY: (0.0, "%")}
    counted = FULL | {fakes.TENSOR_BUSY: (45.0, "%"), f"{fakes.TENSOR}.sum": (1e9, "")}
    assert [kernel.uncounted for kernel in report(IAction(idle), IAction(counted)).kernels] == [[], []]
    assert tensor_percent(KernelMetrics(IAction())) is None


def test_without_measurements_everything_is_none_and_listed_as_missing(report):
    (kernel,) = report(IAction({"launch__grid_dim_x": (1, "")})).kernels
    assert kernel.time_ns is None and kernel.device is None and kernel.launch.grid is None
    assert kernel.use == Use(None, None, None, None, None, None, None)
    assert (kernel.work, kernel.roof, kernel.bottleneck.bound) == ([], None, None)
    assert kernel.bottleneck.sentence == (
        "no verdict: the report lacks the SM throughput and the memory throughput; "
        "record it with --section SpeedOfLight"
    )
    sections = {number.what: number.section for number in kernel.missing}
    assert sections["time"] == "SpeedOfLight" and sections["achieved occupancy"] == "Occupancy"
    assert sections["DRAM bytes"] == "MemoryWorkloadAnalysis"
    assert sections["peak DRAM bandwidth"] == "SpeedOfLight_RooflineChart"


def judged(sm: float | None, memory: float | None, **more: float | None) -> bottleneck.Bottleneck:
    fields = {"dram": memory, "l2": None, "l1": None, "occupancy": 18.0, "waves": 2.0} | more
    return bottleneck.judge(Use(sm=sm, memory=memory, **fields), Traffic(None, None, None), None, [])


@pytest.mark.parametrize(
    ("sm", "memory", "bound"),
    [
        (12.0, 9.0, "latency"),
        (59.99, 59.99, "latency"),
        (60.0, 9.0, "compute"),
        (9.0, 60.0, "memory"),
        (60.0, 50.0, "compute"),  # 10 points apart
        (60.0, 50.01, "balanced"),
        (50.01, 60.0, "balanced"),
        (50.0, 60.0, "memory"),
        (95.0, 90.0, "balanced"),
        (0.0, 0.0, "latency"),
        (None, 90.0, None),
        (90.0, None, None),
    ],
)
def test_the_verdict_at_its_thresholds(sm, memory, bound):
    assert judged(sm, memory).bound == bound


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (judged(83.0, 20.0), "compute-bound: SM at 83 % of its peak, DRAM at 20 %"),
        (judged(12.0, 9.0), "latency-bound: neither SM (12 %) nor memory (9 %) is busy; occupancy 18 %"),
        (
            judged(59.96, 9.0, occupancy=None, waves=0.25),
            "latency-bound: neither SM (59.9 %) nor memory (9 %) is busy; "
            "occupancy not measured (--section Occupancy); the grid fills the device 0.25 times, too small",
        ),
        (
            judged(20.0, 85.0, dram=30.0, l2=85.0),
            "memory-bound: L2 at 85 % of its peak, DRAM at 30 %; SM at 20 %",
        ),
        (
            judged(20.0, 85.0, dram=30.0, l1=90.0),
            "memory-bound: L1 at 90 % of its peak, DRAM at 30 %; SM at 20 %",
        ),
        (judged(20.0, 85.0, dram=None), "memory-bound: memory at 85 % of its peak; SM at 20 %"),
        (judged(70.0, 72.0), "bound by compute and memory alike: SM at 70 % of its peak, memory at 72 %"),
    ],
)
def test_the_sentence_names_the_bound_and_the_evidence(result, sentence):
    assert result.sentence == sentence


def test_without_the_memory_system_dram_decides():
    use = Use(sm=10.0, memory=None, dram=80.0, l2=None, l1=None, occupancy=None, waves=None)
    result = bottleneck.judge(use, Traffic(None, None, None), None, [])
    assert (result.bound, result.sentence) == ("memory", "memory-bound: DRAM at 80 % of its peak; SM at 10 %")


def test_intensity_decides_the_side_of_the_ridge(report):
    at_ridge = FULL | {"smsp__sass_thread_inst_executed_op_fadd_pred_on.sum": (7_100_000.0, "inst")}  # 8 FLOP per 4 B
    sides = [kernel.roof.side for kernel in report(IAction(), IAction(at_ridge)).kernels if kernel.roof]
    assert sides == ["memory", "compute"]


def test_the_roofs_are_the_highest_peaks_of_each_device(report):
    slower = FULL | {"sm__cycles_elapsed.avg.per_second": (500.0, "Mhz")}
    other = FULL | {"device__attribute_display_name": ("Other GPU", "")}
    result = report(IAction(slower), IAction(), IAction(other)).ceilings
    assert [(roofs.device, roofs.peak_flops_per_s, roofs.peak_bytes_per_s) for roofs in result] == [
        ("Fake GPU", 6e12, 3e12),
        ("Other GPU", 6e12, 3e12),
    ]


def test_ranges_are_named_as_in_filters_of_ncu(report):
    state = INvtxState(INvtxDomainInfo("torch", ("model", "attention"), ("step 3",)), INvtxDomainInfo("empty"))
    (kernel,) = report(IAction(nvtx=state)).kernels
    assert kernel.nvtx == ["torch@model/attention", "torch@step 3"]


def test_advice_is_sorted_by_speedup_and_links_become_text(report):
    linked = "See the @url:Guide:https://example.org/a:b@, @section:Occupancy:Occupancy@ and @source:a.cu:12:line 12@."
    rules = (
        IRuleResult(linked, 3),
        IRuleResult("a part", 2, (1, 80.0)),
        IRuleResult("a little", 2, (2, 5.0)),
        IRuleResult("a lot", 2, (2, 40.0)),
        IRuleResult("all is well", 1),
        IRuleResult(None),
        IRuleResult("unclear", 2, (0, 99.0)),
    )
    (kernel,) = report(IAction(rules=rules)).kernels
    assert [(rule.message, rule.speedup_percent, rule.scope) for rule in kernel.rules] == [
        ("a lot", 40.0, "global"),
        ("a little", 5.0, "global"),
        ("a part", 80.0, "local"),
        ("See the Guide, Occupancy and line 12.", None, None),
        ("unclear", None, None),
    ]


def test_workloads_other_than_kernels_are_named(report):
    kinds = [kernel.workload for kernel in report(IAction(kind=1), IAction(kind=3), IAction(kind=77)).kernels]
    assert kinds == ["range", "graph", "type 77"]


def test_a_glob_ignores_case_and_must_match(report):
    result = report(IAction(function="gemm_a"), IAction(function="Softmax"), IAction(function="gemm_b"))
    assert [kernel.index for kernel in compute_report.matching(result, "*GEMM*").kernels] == [0, 2]
    assert [kernel.index for kernel in compute_report.matching(result, "softmax").kernels] == [1]
    with pytest.raises(UnknownNameError, match="unknown kernel 'softmin'; did you mean 'Softmax'"):
        compute_report.matching(result, "softmin")


def test_the_json_is_read_back(report):
    result = report(IAction())
    assert msgspec.json.decode(msgspec.json.encode(result), type=compute_report.Report) == result


@pytest.mark.parametrize("broken", [IAction({}), IAction(function=None)])
def test_a_truncated_kernel_is_an_error(report, broken):
    with pytest.raises(TraceError, match="kernel 2 can't be read: the report is truncated"):
        report(IAction(), broken)


@pytest.mark.parametrize(
    "metrics",
    [
        {"gpu__time_duration.sum": (1e300, "us"), "launch__registers_per_thread": (1e308, "Gbyte")},
        {"gpu__time_duration.sum": (5e-324, "ns"), "dram__bytes.sum": (1e308, "byte")},
        {"dram__bytes.sum.peak_sustained": (5e-324, "byte/cycle")},
        {"sm__throughput.avg.pct_of_peak_sustained_elapsed": ([], "%")},
        {"gpu__time_duration.sum": (10**400, "us")},
    ],
)
def test_impossible_metrics_are_an_error_or_unknown(report, metrics):
    try:
        (kernel,) = report(IAction({**fakes.FULL, **metrics})).kernels
    except TraceError as error:
        assert error.code is TraceErrorCode.IMPOSSIBLE_VALUES
        assert "record it again" in str(error)
    else:
        msgspec.json.encode(kernel)


def test_a_damaged_workload_can_be_written(report):
    assert report(IAction(kind="\ud800")).kernels[0].workload == "type ?"


def test_undecodable_names_can_be_written(report):
    (kernel,) = report(IAction(function="gemm\udcff", rules=(IRuleResult("slow\udcff"),))).kernels
    assert (kernel.function, kernel.rules[0].message) == ("gemm?", "slow?")


def test_a_missing_reader_names_its_extra(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "ncu_report":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest, **more)

    Path("fake.ncu-rep").write_bytes(fakes.HEADER)
    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(TraceError, match=r'pip install "ttprof\[ncu\]"'):
        compute_report.read("fake.ncu-rep")


BROKEN = {
    "missing": (None, "No such file or directory"),
    "empty": (b"", "the file is empty"),
    "text": (b"hello, world", "not a report of Nsight Compute"),
    "sqlite": (b"SQLite format 3\0", "not a report of Nsight Compute"),
    "mark only": (b"NVR\0", "is truncated within its header"),
    "half a mark": (b"NV", "is truncated within its header"),
    "long header": (b"NVR\0\xff\xff\xff\xff\x08\x07", "is truncated within its header"),
    "no kernel": (fakes.HEADER, "no kernel can be read"),
    "broken block": (fakes.HEADER + b"\xff\x00\x00\x00" + b"\x08" * 100, "no kernel can be read"),
    "random": (fakes.HEADER + bytes(range(256)) * 9, "no kernel can be read"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_the_real_reader_on_broken_files(content, reason):
    pytest.importorskip("ncu_report")
    if content is not None:
        Path("broken.ncu-rep").write_bytes(content)
    with pytest.raises(TraceError, match=f"^broken.ncu-rep: .*{reason}"):
        compute_report.read("broken.ncu-rep")


def test_a_folder_and_a_damaged_packed_report():
    pytest.importorskip("ncu_report")
    Path("folder.ncu-rep").mkdir()
    with pytest.raises(TraceError, match="not a regular file but a folder"):
        compute_report.read("folder.ncu-rep")
    Path("packed.ncu-repz").write_bytes(b"PK\3\4 and so on")
    with pytest.raises(TraceError, match="no kernel can be read"):
        compute_report.read("packed.ncu-repz")


def test_the_fake_has_only_attributes_of_the_real_module():
    real = pytest.importorskip("ncu_report")
    methods = [
        (fake.__name__, name)
        for fake in fakes.CLASSES
        for name in vars(fake)
        if callable(getattr(fake, name)) and not name.startswith("_")
    ]
    missing = [(kind, name) for kind, name in methods if not hasattr(getattr(real, kind), name)]
    constants = [name for name in vars(IAction) if name.startswith(("NameBase_", "WorkloadType_"))]
    missing += [("IAction", name) for name in constants if not hasattr(real.IAction, name)]
    assert {kind for kind, _ in methods} == {fake.__name__ for fake in fakes.CLASSES}
    assert {name.partition("_")[0] for name in constants} == {"NameBase", "WorkloadType"}
    assert missing == [] and callable(real.load_report)
    assert {real.MsgType.OPTIMIZATION, real.MsgType.WARNING} == set(compute_report.ADVICE)
    assert {int(real.SpeedupType.LOCAL): "local", int(real.SpeedupType.GLOBAL): "global"} == compute_report.SPEEDUPS


EXAMPLES = Path("/usr/share/doc/nsight-compute/examples/uncoalescedGlobalAccesses")
"""Two reports of real kernels, from Debian's package nsight-compute."""


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the reports of Debian's package nsight-compute")
def test_a_real_report():
    pytest.importorskip("ncu_report")
    (kernel,) = compute_report.read(EXAMPLES / "addConstDouble.ncu-rep").kernels
    assert (kernel.device, kernel.compute_capability, kernel.time_ns) == ("NVIDIA RTX A2000", "8.6", 239_008)
    fp64, fp32 = kernel.work
    assert (fp64.kind, fp64.flops) == ("fp64", pytest.approx(12_288 * 256))  # one addition for each thread
    assert (fp32.kind, fp32.flops) == ("fp32", 0)
    assert kernel.traffic.dram_bytes == 25_170_048 + 23_673_216
    assert kernel.traffic.bytes_per_s == pytest.approx(kernel.traffic.dram_bytes / 239_008e-9, rel=1e-6)
    assert kernel.launch.grid == [12_288, 1, 1] and kernel.launch.block == [256, 1, 1]
    assert (kernel.bottleneck.bound, kernel.bottleneck.unit) == ("memory", "DRAM")
    assert kernel.roof is not None and kernel.roof.side == "memory"
    (strided,) = compute_report.read(EXAMPLES / "addConstDouble3.ncu-rep").kernels
    assert any("uncoalesced" in rule.message for rule in strided.rules)
