"""The documents of the front end, over small runs and handwritten traces with numbers that are easy to check."""

from __future__ import annotations

import json

import kineto_files
import msgspec
import pytest
import results
from results import case, measured

from ttprof.codes import Kind, VerdictCode
from ttprof.dashboard import comparing, documents, scaling, traces
from ttprof.dashboard.archive import Archive
from ttprof.dashboard.runs import LogDirectory, Run
from ttprof.errors import ResultFileError, TraceError
from ttprof.machine import ClockRange, GpuUse, MachineUse
from ttprof.result import CaseResult, Element, TrialResult
from ttprof.scaling_fit import LawFit, ScalingFit
from ttprof.system.nvml import Throttle
from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto
from ttprof.verdict import Status, Verdict


def timed(value: float, samples: list[float] | None = None, **point: int) -> TrialResult:
    """A trial with a latency."""
    return results.trial(measured("latency_ms", value, samples=samples or []), point=point)


def verdict(status: Status, limit: float, **point: int) -> Verdict:
    code, bound = VerdictCode.OUTSIDE_LIMIT, (None, limit)
    return results.verdict(status, code, f"{status}!", metric="latency_ms", bound=bound, point=point)


def run(tmp_path, *cases: CaseResult, name="run", started="2026-11-24T10:00:00") -> Run:
    folder = tmp_path / name
    results.suite(*cases, started=started, run_dir=str(folder)).save(folder / "result.json")
    return next(run for run in LogDirectory(tmp_path).runs() if run.name == name)


def test_a_cell_shows_the_trial_with_the_worst_verdict(tmp_path):
    swept = case(
        "ffn",
        Status.FAIL,
        timed(1.0, seq_len=8),
        timed(2.0, seq_len=16),
        verdicts=[verdict(Status.FAIL, 0.5, seq_len=8), verdict(Status.PASS, 3, seq_len=16)],
    )
    document = documents.run(run(tmp_path, swept, case("x", Status.PASS, timed(7.0))))
    cell = document.cases[0].cells["latency_ms"]
    assert (cell.value, cell.limit, cell.status) == (1.0, "≤ 0.5", Status.FAIL)
    assert document.cases[0].reason == "FAIL!" and [t.label for t in document.cases[0].trials] == [
        "seq_len=8",
        "seq_len=16",
    ]
    assert document.cases[1].cells["latency_ms"] == documents.Cell(7.0)
    assert document.row.counts == {"PASS": 1, "FAIL": 1} and not document.row.passed


@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL])
def test_numerics_name_the_worst_element_however_they_ended(status):
    worst = Element(reference="fp64", path="output[0]", index=[1, 2], value=1.0001, expected=1.00011)
    errors = {"rel_error": 2e-4, "max_error": 3e-4, "pcc": 0.999}
    trial = results.trial(*(measured(name, value, "") for name, value in errors.items()), point={"n": 8}, worst=worst)

    def judged(end: Status, size: int) -> Verdict:
        code, kind, bound = VerdictCode.WITHIN_TOLERANCE, Kind.TOLERANCE, (None, 0.001)
        place = {"metric": "rel_error", "bound": bound, "point": {"n": size}}
        return results.verdict(end, code, "", kind=kind, expectation="tolerance 0.001", **place)

    tolerance, other = judged(status, 8), judged(Status.ERROR, 4)
    numerics = documents.case(0, case("x", status, trial, verdicts=[tolerance, other])).trials[0].numerics
    assert (numerics.status, numerics.expected, numerics.limit) == (status, ["tolerance 0.001"], 0.001)
    assert (numerics.rel_error, numerics.max_error, numerics.pcc, numerics.ulp_error) == (2e-4, 3e-4, 0.999, None)
    element = numerics.worst
    assert (element.element, element.value, element.expected) == ("output[0][1, 2]", "1.0001", "1.00011")


def test_numerics_of_an_old_result_and_of_none():
    old = results.trial(measured("rel_error", 2e-4, ""))
    trials = documents.case(0, case("x", Status.PASS, old, timed(1.0))).trials
    assert trials[0].numerics.worst is None and trials[0].numerics.status is None and trials[1].numerics is None


@pytest.mark.parametrize(
    ("status", "others", "further"),
    [
        (Status.FAIL, [Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.PASS, Status.SKIP], 2),
        (Status.INCONCLUSIVE, [Status.INCONCLUSIVE, Status.PASS], 1),
        (Status.PASS, [Status.PASS], 0),
        (Status.SKIP, [], 0),
    ],
)
def test_a_case_counts_the_other_verdicts_that_are_as_bad(tmp_path, status, others, further):
    result = case("x", status, timed(3.0), verdicts=[verdict(other, 1) for other in (status, *others)])
    assert documents.run(run(tmp_path, result)).cases[0].further == further


@pytest.mark.parametrize(
    ("bound", "text"), [((None, 5.0), "≤ 5"), ((2.0, None), "≥ 2"), ((12.0, 12.0), "= 12"), ((1.0, 2.0), "1 … 2")]
)
def test_a_limit_is_shown_as_its_bound(tmp_path, bound, text):
    limited = results.verdict(Status.PASS, VerdictCode.WITHIN_LIMIT, "", metric="latency_ms", bound=bound)
    document = documents.run(run(tmp_path, case("x", Status.PASS, timed(3.0), verdicts=[limited])))
    assert document.cases[0].cells["latency_ms"].limit == text


def test_samples_are_in_the_public_unit_with_their_quantiles(tmp_path):
    ns = [1e6 * n for n in range(1, 101)]
    metric = documents.case(0, case("x", Status.PASS, timed(50.5, ns))).trials[0].measurements[0]
    assert metric.samples[:2] == [1.0, 2.0] and metric.count == 100
    assert (metric.spread.min, metric.spread.p10, metric.spread.p90, metric.spread.max) == pytest.approx(
        (1, 10.9, 90.1, 100)
    )
    assert 40 < metric.interval[0] < 50.5 < metric.interval[1] < 61


def test_too_many_samples_are_thinned_and_counted():
    metric = documents.metric_detail(measured("latency_ms", 1.0, samples=[1e6] * 5001))
    assert metric.count == 5001 and len(metric.samples) == 1667


def test_an_empty_run_and_an_unmeasured_case(tmp_path):
    limit = verdict(Status.ERROR, 5)
    assert documents.run(run(tmp_path)).cases == []
    document = documents.run(run(tmp_path, case("x", Status.ERROR, verdicts=[limit]), name="other"))
    assert document.cases[0].cells["latency_ms"] == documents.Cell(None, "≤ 5", Status.ERROR)
    assert [column.name for column in document.columns] == ["latency_ms"]


def test_tables_shares_and_the_treemap_of_a_training_step(tmp_path):
    path = kineto_files.write(tmp_path / "t.json", kineto_files.training_step())
    document = traces.trace(Attribution(kineto.read(path)))
    assert [(row.name, row.time_ns, row.share) for row in document.kernels][:2] == [
        ("early", 50000, 0.5),
        ("gemm_t", 30000, 0.3),
    ]
    assert {row.name for row in document.backward} == {
        "autograd::engine::evaluate_function: AddmmBackward0",
        "AddmmBackward0",
        "aten::mm",
    }
    assert not {row.name for row in document.forward} & {row.name for row in document.backward}
    assert sum(row.share for row in [*document.forward, *document.backward]) == pytest.approx(1)
    tree = document.treemap
    roots = {tree.labels[i]: tree.values[i] for i in range(len(tree.ids)) if not tree.parents[i]}
    assert roots == {"forward": 70000, "backward": 30000}
    node = tree.labels.index("gemm")
    path_up = []
    while node >= 0:
        path_up.append(tree.labels[node])
        node = tree.ids.index(tree.parents[node]) if tree.parents[node] else -1
    assert path_up == ["gemm", "aten::addmm", "Linear_0", "Net_0", "forward"]


def test_every_node_of_a_treemap_is_as_large_as_its_children(tmp_path, monkeypatch):
    path = kineto_files.write(tmp_path / "t.json", kineto_files.training_step())
    monkeypatch.setattr(traces, "MAX_LEAVES", 3)
    tree = traces.trace(Attribution(kineto.read(path))).treemap
    assert tree.left_out == 2 and "2 more" in tree.labels
    for i, (name, value) in enumerate(zip(tree.ids, tree.values, strict=True)):
        children = sum(v for v, parent in zip(tree.values, tree.parents, strict=True) if parent == name)
        assert children in (0, value), tree.labels[i]


def fit(**changes) -> ScalingFit:
    changes = {"metric": "latency_ms", "values": [1e6, 2e6, 4e6], "laws": [], **changes}
    return msgspec.structs.replace(results.FIT, **changes)


def test_a_scaling_has_a_curve_for_each_law_in_the_public_unit():
    laws = [LawFit(law="linear", intercept=0, factor=1e6, r2=1), LawFit(law="constant", intercept=0, factor=2e6, r2=0)]
    scales = results.verdict(Status.PASS, VerdictCode.FOLLOWS_LAW, "it does", kind=Kind.SCALING)
    document = scaling.scaling(
        case("x", Status.PASS, timed(4.0), verdicts=[scales], scaling=fit(laws=laws, rounds=[[1e6, 3e6], [2e6], [4e6]]))
    )
    assert [(point.size, point.value, point.median) for point in document.points] == [(1, 1, 2), (2, 2, 2), (4, 4, 4)]
    assert [(curve.name, curve.chosen) for curve in document.curves] == [("linear", True), ("constant", False)]
    assert document.curves[0].values[-1] == pytest.approx(4) and document.curves[1].values == pytest.approx([2] * 60)
    assert (document.status, document.reason) == (Status.PASS, "it does")


def test_a_polynomial_is_the_chosen_curve_and_an_old_result_has_the_slope():
    exact = scaling.scaling(case("x", Status.PASS, timed(1.0), scaling=fit(coefficients=[0, 1e6])))
    assert exact.curves[0].name == "exact polynomial" and exact.curves[0].values[-1] == pytest.approx(4)
    assert {curve.name for curve in exact.curves[1:]} == {"constant", "log", "nlogn", "quadratic", "cubic", "quartic"}
    assert [curve.chosen for curve in exact.curves] == [True] + [False] * 6
    old = scaling.scaling(case("x", Status.PASS, timed(1.0), scaling=fit()))
    assert old.curves[0].values[0] == pytest.approx(1) and [point.median for point in old.points] == [None] * 3
    with pytest.raises(ResultFileError, match="no scaling"):
        scaling.scaling(case("x", Status.PASS))


def exact(*coefficients: float) -> scaling.ScalingDocument:
    """The scaling of a polynomial at sizes 64 to 1024."""
    sizes = [64, 128, 256, 512, 1024]
    values = [float(sum(c * n**power for power, c in enumerate(coefficients))) for n in sizes]
    fitted = fit(
        metric="kernel_count",
        law="quadratic",
        sizes=sizes,
        values=values,
        exponent=float(len(coefficients) - 1),
        interval=(2.0, 2.0),
        coefficients=list(coefficients),
    )
    return scaling.scaling(case("x", Status.PASS, timed(1.0), scaling=fitted))


def test_the_shares_and_the_crossover_of_a_polynomial_come_from_its_coefficients():
    document = exact(12, 3072, 64)
    total = 64 * 1024**2 + 3072 * 1024 + 12
    assert document.quadratic == pytest.approx(64 * 1024**2 / total) and round(document.quadratic, 3) == 0.955
    assert (document.overhead, document.crossover) == (12 / total, 48)
    assert "quadratic" not in {curve.name for curve in document.curves} and len(document.curves) == 7


@pytest.mark.parametrize(
    ("coefficients", "overhead", "quadratic"),
    [((100, 0, 2), 100 / (2 * 1024**2 + 100), 2 * 1024**2 / (2 * 1024**2 + 100)), ((0, -1, 1), 0, 1), ((5,), 1, 0)],
)
def test_a_polynomial_without_one_of_two_terms_has_no_crossover(coefficients, overhead, quadratic):
    document = exact(*coefficients)
    assert (document.overhead, document.quadratic) == pytest.approx(
        (overhead, quadratic)
    ) and document.crossover is None


def test_a_metric_of_0_has_no_other_laws_and_a_note_says_so():
    document = exact(0)
    assert [curve.name for curve in document.curves] == ["exact polynomial"] and "values above 0" in document.notes[0]
    assert (document.overhead, document.quadratic, document.crossover) == (0, 0, None)


def test_metrics_with_too_few_samples_are_marked_and_last(tmp_path):
    few, many = [1e6] * 5, [1e6 * (1 + 0.01 * (i % 7)) for i in range(60)]
    base = run(tmp_path, case("a", Status.PASS, timed(1.0, few)), case("b", Status.PASS, timed(1.0, many)), name="a")
    new = run(
        tmp_path,
        case("a", Status.PASS, timed(1.0, few)),
        case("b", Status.PASS, timed(1.0, many)),
        case("c", Status.PASS, timed(1.0, many)),
        name="b",
    )
    rows = comparing.compare(base, new).rows
    assert [(row.case, row.change, row.too_few_samples) for row in rows] == [
        ("c", "new", False),
        ("b", "same", False),
        ("a", "undecided", True),
    ]


def test_a_comparison_has_intervals_and_regressions(tmp_path):
    before, after = ([1e6 * scale * (1 + 0.01 * (i % 7)) for i in range(60)] for scale in (1, 2))
    base = run(tmp_path, case("x", Status.PASS, timed(1.03, before)), name="a")
    new = run(
        tmp_path, case("y", Status.SKIP), case("x", Status.PASS, timed(2.06, after)), name="b", started="2026-11-25"
    )
    comparison = comparing.compare(base, new)
    row = next(row for row in comparison.rows if row.metric == "latency_ms")
    assert (row.change, row.index) == ("regression", 1)
    assert row.interval[0] <= row.ratio <= row.interval[1] and row.ratio == pytest.approx(2)
    assert comparison.counts["regression"] == 1


def test_an_interval_of_a_ratio_needs_ten_samples():
    assert comparing.ratio_interval([1.0] * 9, [2.0] * 10) is None
    assert comparing.ratio_interval([1.0] * 10, [2.0] * 10) == (2.0, 2.0)
    assert comparing.ratio_interval([0.0] * 10, [2.0] * 10) is None


def test_runs_and_history_are_in_the_order_of_instants_when_the_clocks_go_back(tmp_path):
    summer, winter = "2026-10-25T02:59:00+02:00", "2026-10-25T02:10:00+01:00"  # 00:59 and 01:10 UTC
    run(tmp_path, case("x", Status.PASS, timed(1.0)), name="summer", started=summer)
    later = run(tmp_path, case("x", Status.PASS, timed(2.0)), name="winter", started=winter)
    runs = LogDirectory(tmp_path).runs()
    assert [listed.name for listed in runs] == ["winter", "summer"], "the newest first"
    (series,) = comparing.history(runs, later, later.read.cases[0]).series
    assert [point.folder for point in series.points] == ["summer", "winter"]


def test_a_history_covers_one_suite_oldest_first(tmp_path):
    late = run(tmp_path, case("x", Status.PASS, timed(2.0, [2e6] * 3)), name="b", started="2026-11-25")
    run(tmp_path, case("x", Status.FAIL, timed(1.0), verdicts=[verdict(Status.FAIL, 0.5)]), name="a")
    history = comparing.history(LogDirectory(tmp_path).runs(), late, late.read.cases[0])
    (series,) = history.series
    assert [(point.folder, point.value, point.limit, point.low) for point in series.points] == [
        ("a", 1, 0.5, None),
        ("b", 2, None, 2),
    ]


@pytest.mark.parametrize(
    "key",
    [
        *("", "runs/", "run", "run/../../etc/passwd", "run/0123456789abcdef/1", "case/{id}/-1", "case/{id}/9"),
        *("case/{id}/0x0", "trace/{id}/0/7", "timeline/{id}/0/0/-2", "_document/runs", "find/{id}", "compare/{id}"),
    ],
)
def test_a_wrong_key_is_an_error(tmp_path, key):
    wrong_run = run(tmp_path, case("x", Status.PASS, timed(1.0)))
    with pytest.raises(ResultFileError):
        Archive(LogDirectory(tmp_path), "logs").answer(key.format(id=wrong_run.id))


def test_an_archive_answers_every_kind_of_key(tmp_path):
    file = kineto_files.write(tmp_path / "t.json", kineto_files.two_iterations())
    traced = results.trial(trace_path=str(file))
    only_run = run(tmp_path, case("x", Status.PASS, traced, scaling=fit()))
    archive = Archive(LogDirectory(tmp_path), "logs")
    run_id = only_run.id
    case_keys = [f"{kind}/{run_id}/0" for kind in ("case", "scaling", "history")]
    trial_keys = [f"trace/{run_id}/0/0", f"timeline/{run_id}/0/0/1", f"timeline/{run_id}/0/0/-1"]
    comparison_keys = [f"compare/{run_id}/{run_id}", f"diff/{run_id}/{run_id}/0/0"]
    for key in ("runs", f"run/{run_id}", *case_keys, *trial_keys, *comparison_keys):
        assert json.loads(archive.answer(key)), key
    with pytest.raises(TraceError, match="no iteration 5"):
        archive.answer(f"timeline/{run_id}/0/0/5")


def test_what_the_machine_did_during_the_timing_is_listed():
    sm = ClockRange(lowest=1200, median=1500, highest=1980)
    memory = ClockRange(lowest=2619, median=2619, highest=2619)
    throttled = [Throttle.POWER_CAP, Throttle.HARDWARE_HEAT]
    gpu = GpuUse(sm=sm, memory=memory, run_sm_mhz=1980, throttled=throttled, temperature_c=88)
    gpu = msgspec.structs.replace(gpu, others=0.25, other_processes=1, missing="")
    machine = MachineUse(cpu_clocks=sm, others=0.5, disturbed=[3, 4], slowdown=1.25, gpu=gpu)
    (shown,) = documents.case(0, case("ffn", Status.PASS, results.trial(machine=machine))).trials
    assert shown.machine == [
        ("CPU clock", "1200 … 1980 MHz, median 1500 MHz"),
        ("other processes", "0.5 CPUs on average"),
        ("disturbed iterations", "2"),
        ("slower than at other times", "1.25 times"),
        ("GPU clock", "1200 … 1980 MHz, median 1500 MHz; highest of the run 1980 MHz"),
        ("GPU memory clock", "2619 MHz"),
        ("GPU held down by", "power cap, heat (hardware)"),
        ("GPU temperature", "88 °C at most"),
        ("others on the GPU", "25 % of it, by 1"),
    ]


def test_what_could_not_be_read_of_the_machine_is_stated_and_old_results_say_nothing():
    unread = MachineUse(gpu=GpuUse(throttled=[], other_processes=0, missing="SM clock: Not Supported"))
    (shown,) = documents.case(0, case("ffn", Status.PASS, results.trial(machine=unread))).trials
    assert shown.machine == [
        ("GPU held down by", "nothing"),
        ("others on the GPU", "none"),
        ("GPU not read", "SM clock: Not Supported"),
    ]
    (old,) = documents.case(0, case("ffn", Status.PASS, results.trial())).trials
    assert old.machine == []
