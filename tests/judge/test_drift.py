"""A history in which each step is small."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner
from judge.test_regression import changes, noisy, run, timed
from machines import MACHINE

from ttprof import baseline
from ttprof.cli.compare import command
from ttprof.errors import ResultFileError
from ttprof.judge import drift, regression

OTHER = msgspec.structs.replace(MACHINE, cpu="another")


def at(day: int, ms: float, environment=MACHINE, name="run"):
    found = run(timed("cpu_time_ms", noisy(ms, day)), environment=environment)
    return msgspec.structs.replace(found, started=f"2026-11-{day:02}", name=name)


STEPS = [at(1, 1.0), at(2, 1.04), at(3, 1.08)]
NEW = at(4, 1.12)


def told(history, new=NEW, **options):
    found = drift.compare(history, new, **options)
    return {row.metric: (row.change, str(row.status)) for row in found.rows}


def test_small_steps_that_add_up_are_drift():
    assert changes(STEPS[-1], NEW) == {"cpu_time_ms": ("same", "PASS")}
    found = drift.compare(STEPS, NEW)
    (row,) = found.rows
    assert (row.change, row.status) == ("drift", "INCONCLUSIVE")
    assert row.reason.startswith("since the oldest of 3 runs, of 2026-11-01: cpu_time_ms is 1.1")
    assert found.base == "run of 2026-11-03" and found.oldest == "run of 2026-11-01, the oldest of 3"
    assert found.passes() and not found.passes(strict=True)


def test_a_regression_is_told_as_such():
    assert told(STEPS, at(4, 1.3)) == {"cpu_time_ms": ("regression", "FAIL")}


def test_no_drift_in_a_history_that_stands_still():
    assert told([at(1, 1.0), at(2, 1.0), at(3, 1.0)], at(4, 1.0)) == {"cpu_time_ms": ("same", "PASS")}
    assert told([at(3, 1.08)]) == {"cpu_time_ms": ("same", "PASS")}


def test_only_runs_of_the_same_suite_on_like_hardware_count():
    assert told([at(1, 0.5, OTHER), at(2, 0.5, name="another"), STEPS[2]]) == {"cpu_time_ms": ("same", "PASS")}
    assert told([at(1, 0.5, OTHER), STEPS[2]], force=True) == {"cpu_time_ms": ("drift", "INCONCLUSIVE")}
    with pytest.raises(ResultFileError, match="no run of 'run' before 2026-11-04, only another of 2026-11-02"):
        drift.compare([at(2, 0.5, name="another"), NEW], NEW)
    with pytest.raises(regression.UnlikeHardware):
        drift.compare([at(1, 0.5, OTHER)], NEW)


def test_a_folder_is_a_history(tmp_path):
    for each in STEPS:
        each.save(tmp_path / "history" / f"{each.started}.json")
    (tmp_path / "history" / "notes.json").write_text("{}")
    assert [b.started for b in baseline.history(tmp_path / "history")[0]] == [each.started for each in STEPS]
    new = NEW.save(tmp_path / "new.json")
    shown = CliRunner().invoke(command, [str(tmp_path / "history"), str(new)])
    assert shown.exit_code == 0 and "drift since run of 2026-11-01" in shown.output
    assert "1 drift" in shown.output
    assert "left out of the history" in shown.output and "notes.json: not a ttprof" in shown.output
    assert CliRunner().invoke(command, [str(tmp_path / "history"), str(new), "--strict"]).exit_code == 1
    (tmp_path / "empty").mkdir()
    empty = CliRunner().invoke(command, [str(tmp_path / "empty"), str(new)])
    assert "this folder has no result and no baseline" in str(empty.exception)
