"""Progress of a running suite: rows, phases and time left, on terminals of any height and without one."""

from __future__ import annotations

import io
import re

import pytest
from results import case
from rich.console import Console

from ttprof.report.progress import AROUND, MOST_ROWS, Course, progress, table
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


def lines(course: Course, height: int = 40, width: int = 100) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(table("gate", course, height))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def take(course: Course, clock: Clock, name: str, phases: str, seconds: float) -> None:
    """A case goes through some phases, each of which takes some seconds."""
    for phase in phases.split():
        course.enter(name, phase)
        clock.now += seconds


def test_a_run_of_three_cases_line_by_line(clock):
    course = Course(["attention", "ffn", "norm"], clock)
    course.enter("attention", "capture")
    clock.now += 2
    course.enter("attention", "timing")
    assert lines(course) == [
        "gate · pass 1 of 2 (timing) · 0 of 3 · 0:02",
        "timing        attention",
        "waiting       ffn",
        "waiting       norm",
    ]
    clock.now += 8
    course.enter("ffn", "capture")
    clock.now += 4
    assert lines(course) == [
        "gate · pass 1 of 2 (timing) · 1 of 3 · 0:14 · about 0:46 left",
        "timed         attention",
        "capture       ffn",
        "waiting       norm",
    ]
    take(course, clock, "norm", "capture timing", 3)
    course.begin_pass("recording")
    take(course, clock, "attention", "capture", 5)
    assert lines(course)[0] == "gate · pass 2 of 2 (recording) · 0 of 3 · 0:25 · about 0:15 left"
    course.end("attention", Status.PASS)
    course.enter("ffn", "capture")
    course.enter("ffn", "profiling")
    assert lines(course) == [
        "gate · pass 2 of 2 (recording) · 1 of 3 · 1 PASS · 0:25 · about 0:10 left",
        "PASS          attention",
        "profiling     ffn",
        "timed         norm",
    ]
    course.end("ffn", Status.FAIL)
    course.end("norm", Status.SKIP)
    assert lines(course)[0] == "gate · pass 2 of 2 (recording) · 3 of 3 · 1 PASS · 1 FAIL · 1 SKIP · 0:25"


def test_time_left_is_extrapolated_from_finished_cases_and_never_negative(clock):
    course = Course(["a", "b"], clock)
    assert course.left is None
    take(course, clock, "a", "capture timing", 1)
    assert course.left is None, "the first case has not finished"
    take(course, clock, "b", "capture timing", 1)
    assert course.left == 4, "two seconds for each case of pass 2"
    clock.now += 50
    assert course.left == 4
    course.begin_pass("recording")
    course.enter("a", "capture")
    assert course.left == 54, "pass 1 took 54 seconds for two cases"
    clock.now += 1
    course.end("a", Status.PASS)
    assert course.left == 1, "now pass 2 has a measured time"
    clock.now += 5
    assert course.left == 0


def test_cases_that_pass_1_left_out_take_no_time_in_pass_2(clock):
    course = Course(["skipped", "a", "b", "skipped too"], clock)
    take(course, clock, "a", "capture timing", 1)
    take(course, clock, "b", "capture timing", 1)
    course.begin_pass("recording")
    course.end("skipped", Status.SKIP)
    assert course.left == 4
    course.enter("a", "capture")
    clock.now += 1
    assert course.left == 3
    course.end("a", Status.PASS)
    assert course.left == 1


def test_the_second_pass_begins_when_it_is_announced(clock):
    course = Course(["a", "b"], clock)
    course.begin_pass("timing")
    take(course, clock, "a", "capture numerics capture timing", 1)
    take(course, clock, "b", "capture", 1)
    take(course, clock, "a", "capture", 1)
    assert not course.second and "pass 1 of 2 (timing)" in lines(course)[0]
    course.begin_pass("recording")
    assert course.second and course.through == 0 and "pass 2 of 2 (recording)" in lines(course)[0]
    course.end("a", Status.SKIP)
    assert course.through == 1


@pytest.mark.parametrize("height", [3, 10, 24, 100])
@pytest.mark.parametrize("at", [0, 100, 199])
def test_a_long_suite_shows_a_window_around_the_current_case(clock, at, height):
    course = Course([f"layers.{i}.{'mlp' * 40}" for i in range(200)], clock)
    course.enter(course.cases[at], "timing")
    shown = lines(course, height, width=80)
    assert len(shown) <= max(4, min(MOST_ROWS + 3, height - AROUND + 3))
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
