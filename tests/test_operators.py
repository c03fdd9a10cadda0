"""What one iteration calls otherwise than before."""

from __future__ import annotations

import pytest
from results import case, measured, trial, verdict

from ttprof.codes import Kind, VerdictCode
from ttprof.judge import causes
from ttprof.operators import CallLine, OperatorUse, changes
from ttprof.report import sentences
from ttprof.verdict import Status


def use(name: str, count: float = 1, ms: float = 1.0, *lines: CallLine, kind: str = "operator") -> OperatorUse:
    return OperatorUse(name=name, kind=kind, count=count, time_ns=ms * 1e6, lines=list(lines))


def line(place: str, count: int = 1, digest: str = "a") -> CallLine:
    return CallLine(place, digest, count)


def named(base: list[OperatorUse], new: list[OperatorUse], growth_ms: float = 0.0) -> str:
    return "; ".join(causes.clauses(changes(base, new, growth_ms * 1e6)))


def test_new_calls_lost_ones_and_slower_ones():
    base = [use("aten::mm", 3, 2.0), use("aten::copy_", 1, 1.0), use("aten::relu", 2, 0.5)]
    new = [use("aten::mm", 4, 2.7), use("aten::copy_", 1, 3.1), use("aten::ones", 1, 0.1)]
    text = "new: aten::mm 3 → 4, aten::ones ×1; gone: aten::relu ×2; slower: aten::copy_ +2.1 ms"
    assert named(base, new, growth_ms=2.4) == text


def test_times_count_only_if_the_iteration_became_slower():
    base, new = [use("aten::mm", 3, 2.0)], [use("aten::mm", 3, 9.0)]
    assert named(base, new, growth_ms=7.0) == "slower: aten::mm +7 ms"
    assert named(base, new) == ""


def test_a_small_part_of_the_growth_is_not_named():
    base = [use("aten::mm", 1, 10.0), use("aten::add", 1, 1.0), use("aten::mul", 1, 100.0)]
    new = [use("aten::mm", 1, 15.0), use("aten::add", 1, 1.5), use("aten::mul", 1, 103.0)]
    assert named(base, new, growth_ms=8.5) == "slower: aten::mm +5 ms"  # add grew by little of it, mul by 3 %


def test_an_operator_is_not_blamed_for_what_lies_outside_of_all():
    base = [use("aten::mm", 1, 1.0), use("aten::gelu", 1, 0.1)]
    new = [use("aten::mm", 1, 1.0), use("aten::gelu", 1, 0.2)]
    assert named(base, new, growth_ms=5.0) == "slower: time outside operators +4.9 ms"
    both = [use("aten::mm", 2, 2.0), use("aten::gelu", 1, 0.1)]
    assert named(base, both, growth_ms=3.0) == "new: aten::mm 1 → 2; slower: time outside operators +2 ms"
    kernels = [use("sgemm", 1, 1.0, kind="kernel")]
    assert named([*base, *kernels], [*new, *kernels], growth_ms=5.0) == ""
    unrecorded = [use("aten::mm", 1, 0.0)]
    assert named(unrecorded, unrecorded, growth_ms=5.0) == ""


def test_without_operators_on_one_side_nothing_is_said():
    assert changes([], [use("aten::mm")], 1.0) == changes([use("aten::mm")], [], 1.0) == []


def test_the_line_of_a_new_call():
    base = [use("aten::mm", 1, 1.0, line("ffn.py:38"))]
    new = [use("aten::mm", 1, 1.0, line("ffn.py:38")), use("aten::ones", 1, 1.0, line("ffn.py:41", 1, "b"))]
    assert named(base, new) == "new: aten::ones ×1, at ffn.py:41"


def test_lines_that_moved_are_known_by_their_text():
    base = [use("aten::mm", 2, 1.0, line("ffn.py:38", 1, "a"), line("ffn.py:39", 1, "b"))]
    new = [use("aten::mm", 3, 1.0, line("ffn.py:40", 1, "a"), line("ffn.py:41", 1, "b"), line("ffn.py:42", 1, "c"))]
    assert named(base, new) == "new: aten::mm 2 → 3, at ffn.py:42"


def test_lines_of_equal_text_count_together():
    base = [use("aten::mm", 2, 1.0, line("ffn.py:38"), line("ffn.py:39"))]
    new = [use("aten::mm", 3, 1.0, line("ffn.py:38", 2), line("ffn.py:40", 1, "b"))]
    assert named(base, new) == "new: aten::mm 2 → 3, at ffn.py:40"


def test_lines_are_known_from_another_folder():
    base = [use("aten::mm", 1, 1.0, line("ffn.py:38"))]
    new = [use("aten::mm", 2, 1.0, line("model/ffn.py:38"), line("model/ffn.py:39", 1, "b"))]
    assert named(base, new) == "new: aten::mm 1 → 2, at model/ffn.py:39"


def test_calls_that_are_gone_name_the_lines_of_the_baseline():
    base = [use("aten::mm", 2, 1.0, line("ffn.py:38"), line("ffn.py:39", 1, "b"))]
    new = [use("aten::mm", 1, 1.0, line("ffn.py:38")), use("aten::ones", 1, 1.0, line("ffn.py:41", 1, "c"))]
    assert named(base, new) == "new: aten::ones ×1, at ffn.py:41; gone: aten::mm 2 → 1, was at ffn.py:39"


def test_more_lines_than_three_are_counted():
    lines = [line(f"ffn.py:{number}", 1, str(number)) for number in range(5)]
    text = "new: aten::ones ×5 (ffn.py:0, ffn.py:1, ffn.py:2 and 2 more)"
    assert named([use("aten::mm")], [use("aten::mm"), use("aten::ones", 5, 1.0, *lines)]) == text


def test_several_lines_stand_beside_their_operators():
    new = [use("aten::ones", 1, 2.0, line("a.py:1")), use("aten::eye", 1, 1.0, line("b.py:2"), line("b.py:3"))]
    assert (
        named([use("aten::mm")], [use("aten::mm"), *new])
        == "new: aten::ones ×1 (a.py:1), aten::eye ×1 (b.py:2, b.py:3)"
    )


def test_many_names_and_long_ones_are_shortened():
    new = [use(f"aten::op{index}") for index in range(6)] + [use("k" * 80, kind="kernel", ms=9.0)]
    text = named([use("aten::mm")], [use("aten::mm"), *new])
    assert text.startswith(f"new: {'k' * 53}… ×1, ") and text.endswith(" and 3 more")


@pytest.mark.parametrize("later", [[], ["memory_mb +50 % (2 → 3 MB)"]])
def test_the_regressions_of_a_trial_are_one_sentence(later):
    new = [use("aten::mm"), use("aten::ones", 1, 1.0, line("ffn.py:41"))]
    one = trial(
        *(measured(name, 8.0) for name in ("latency_ms", "cpu_time_ms")),
        measured("op_count", 4.0, unit="", statistic="max"),
        measured("memory_mb", 3.0, unit="MB", statistic="max"),
        changed=changes([use("aten::mm")], new, 1e6),
    )
    reasons = {
        "latency_ms": "latency_ms +36 % (6.29 → 8.56 ms, confirmed in 2 processes), cpu_time_ms +35 %",
        "cpu_time_ms": "cpu_time_ms +35 % (6.2 → 8.4 ms)",
        "op_count": "op_count 3 → 4",
        **dict.fromkeys(["memory_mb"] if later else [], "memory_mb +50 % (2 → 3 MB)"),
    }
    verdicts = [
        verdict(Status.FAIL, VerdictCode.REGRESSED, reason, kind=Kind.BASELINE, metric=metric)
        for metric, reason in reasons.items()
    ]
    text = "; ".join([reasons["latency_ms"], ", ".join(["op_count 3 → 4", *later]), "new: aten::ones ×1, at ffn.py:41"])
    failed = case("ffn", Status.FAIL, one, verdicts=verdicts)
    assert list(sentences.problems(failed)) == [(Status.FAIL, text)]
    assert sentences.headline(failed) == text
