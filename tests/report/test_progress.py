"""Progress of a running suite: rows, phases and time left, on terminals of any height and without one."""

from __future__ import annotations

import io
import re

import pytest
from results import case
from rich.console import Console

from ttprof.report.progress import MAX_ROWS, RESERVED_LINES, RunProgress, progress, table
from ttprof.verdict import Status


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lines(state: RunProgress, height: int = 40, width: int = 100) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(table("gate", state, height))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def take(state: RunProgress, clock: Clock, name: str, phases: str, seconds: float) -> None:
    """A case goes through some phases, each of which takes some seconds."""
    for phase in phases.split():
        state.enter(name, phase)
        clock.now += seconds


def test_a_run_of_three_cases_line_by_line(clock):
    state = RunProgress(["attention", "ffn", "norm"], clock)
    state.enter("attention", "capture")
    clock.now += 2
    state.enter("attention", "timing")
    assert lines(state) == [
        "gate · pass 1 of 2 (timing) · 0 of 3 · 0:02",
        "timing        attention",
        "waiting       ffn",
        "waiting       norm",
    ]
    clock.now += 8
    state.enter("ffn", "capture")
    clock.now += 4
    assert lines(state) == [
        "gate · pass 1 of 2 (timing) · 1 of 3 · 0:14 · about 0:46 left",
        "timed         attention",
        "capture       ffn",
        "waiting       norm",
    ]
    take(state, clock, "norm", "capture timing", 3)
    state.begin_pass("recording")
    take(state, clock, "attention", "capture", 5)
    assert lines(state)[0] == "gate · pass 2 of 2 (recording) · 0 of 3 · 0:25 · about 0:15 left"
    state.end("attention", Status.PASS)
    state.enter("ffn", "capture")
    state.enter("ffn", "profiling")
    assert lines(state) == [
        "gate · pass 2 of 2 (recording) · 1 of 3 · 1 PASS · 0:25 · about 0:10 left",
        "PASS          attention",
        "profiling     ffn",
        "timed         norm",
    ]
    state.end("ffn", Status.FAIL)
    state.end("norm", Status.SKIP)
    assert lines(state)[0] == "gate · pass 2 of 2 (recording) · 3 of 3 · 1 PASS · 1 FAIL · 1 SKIP · 0:25"


def test_time_left_is_extrapolated_from_finished_cases_and_never_negative(clock):
    state = RunProgress(["a", "b"], clock)
    assert state.remaining is None
    take(state, clock, "a", "capture timing", 1)
    assert state.remaining is None, "the first case has not finished"
    take(state, clock, "b", "capture timing", 1)
    assert state.remaining == 4, "two seconds for each case of pass 2"
    clock.now += 50
    assert state.remaining == 4
    state.begin_pass("recording")
    state.enter("a", "capture")
    assert state.remaining == 54, "pass 1 took 54 seconds for two cases"
    clock.now += 1
    state.end("a", Status.PASS)
    assert state.remaining == 1, "now pass 2 has a measured time"
    clock.now += 5
    assert state.remaining == 0


def test_cases_that_pass_1_left_out_take_no_time_in_pass_2(clock):
    state = RunProgress(["skipped", "a", "b", "skipped too"], clock)
    take(state, clock, "a", "capture timing", 1)
    take(state, clock, "b", "capture timing", 1)
    state.begin_pass("recording")
    state.end("skipped", Status.SKIP)
    assert state.remaining == 4
    state.enter("a", "capture")
    clock.now += 1
    assert state.remaining == 3
    state.end("a", Status.PASS)
    assert state.remaining == 1


def test_the_second_pass_begins_when_it_is_announced(clock):
    state = RunProgress(["a", "b"], clock)
    state.begin_pass("timing")
    take(state, clock, "a", "capture numerics capture timing", 1)
    take(state, clock, "b", "capture", 1)
    take(state, clock, "a", "capture", 1)
    assert not state.in_second_pass and "pass 1 of 2 (timing)" in lines(state)[0]
    state.begin_pass("recording")
    assert state.in_second_pass and state.finished == 0 and "pass 2 of 2 (recording)" in lines(state)[0]
    state.end("a", Status.SKIP)
    assert state.finished == 1


@pytest.mark.parametrize("height", [3, 10, 24, 100])
@pytest.mark.parametrize("at", [0, 100, 199])
def test_a_long_suite_shows_a_window_around_the_current_case(clock, at, height):
    state = RunProgress([f"layers.{i}.{'mlp' * 40}" for i in range(200)], clock)
    state.enter(state.cases[at], "timing")
    shown = lines(state, height, width=80)
    assert len(shown) <= max(4, min(MAX_ROWS + 3, height - RESERVED_LINES + 3))
    (row,) = [line for line in shown if line.startswith("timing ")]
    assert f" layers.{at}.mlp" in row and len(row) <= 80
    above = sum(int(n) for n in re.findall(r"… (\d+) above", "\n".join(shown)))
    below = sum(int(n) for n in re.findall(r"… (\d+) below", "\n".join(shown)))
    rows = [line for line in shown[1:] if not line.startswith("…")]
    assert above + len(rows) + below == 200


def test_on_a_terminal_the_table_is_redrawn_at_each_step_and_erased_at_the_end(clock):
    out = io.StringIO()
    terminal = Console(file=out, width=100, height=30, force_terminal=True, force_interactive=True)
    with progress("gate", ["[red]ffn", "norm"], terminal, clock) as display:
        display.phase("[red]ffn", "timing")
        display.phase("norm", "capture")
        display.done(case("[red]ffn", Status.FAIL))
    drawn = out.getvalue()
    assert "timing" in drawn and "[red]ffn" in drawn and "\x1b[1;31mFAIL" in drawn
    assert drawn.endswith("\x1b[2K"), "the last thing written wipes a line"


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "force_interactive": False, "no_color": True}])
def test_without_a_terminal_there_is_a_line_for_each_finished_case(options):
    out = io.StringIO()
    with progress("gate", ["ffn", "norm"], Console(file=out, width=80, **options)) as display:
        display.phase("ffn", "capture")
        display.done(case("ffn", Status.FAIL))
    plain = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
    assert plain == "gate: 2 cases\nFAIL         ffn\n"
