"""Drift: a history of small steps that add up."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner
from judge.test_regression import changes, noisy, run, timed
from machines import MACHINE

from ttprof import baseline
from ttprof.cli.compare import command
from ttprof.errors import ResultFileError
from ttprof.judge import drift, environments

OTHER = msgspec.structs.replace(MACHINE, cpu="another")


def at(day: int, ms: float, environment=MACHINE, name="run"):
    measured = run(timed("cpu_time_ms", noisy(ms, day)), environment=environment)
    return msgspec.structs.replace(measured, started=f"2026-11-{day:02}", name=name)


STEPS = [at(1, 1.0), at(2, 1.04), at(3, 1.08)]
NEW = at(4, 1.12)


def changes_since(history, new=NEW, **options):
    rows = drift.compare(history, new, **options).rows
    return {row.metric: (row.change, str(row.status)) for row in rows}


def test_small_steps_that_add_up_are_drift():
    assert changes(STEPS[-1], NEW) == {"cpu_time_ms": ("same", "PASS")}
    comparison = drift.compare(STEPS, NEW)
    (row,) = comparison.rows
    assert (row.change, row.status) == ("drift", "INCONCLUSIVE")
    assert row.reason.startswith("drift since 2026-11-01, the oldest of 3 runs: cpu_time_ms +")
    assert comparison.base == "run of 2026-11-03" and comparison.oldest == "run of 2026-11-01, the oldest of 3"
    assert comparison.passes() and not comparison.passes(strict=True)


def test_a_regression_is_not_drift():
    assert changes_since(STEPS, at(4, 1.3)) == {"cpu_time_ms": ("regression", "FAIL")}


def test_a_constant_history_has_no_drift():
    assert changes_since([at(1, 1.0), at(2, 1.0), at(3, 1.0)], at(4, 1.0)) == {"cpu_time_ms": ("same", "PASS")}
    assert changes_since([at(3, 1.08)]) == {"cpu_time_ms": ("same", "PASS")}


def test_only_runs_of_the_same_suite_on_the_same_hardware_count():
    assert changes_since([at(1, 0.5, OTHER), at(2, 0.5, name="another"), STEPS[2]]) == {"cpu_time_ms": ("same", "PASS")}
    assert changes_since([at(1, 0.5, OTHER), STEPS[2]], force=True) == {"cpu_time_ms": ("drift", "INCONCLUSIVE")}
    with pytest.raises(ResultFileError, match="no run of 'run' before 2026-11-04, only another of 2026-11-02"):
        drift.compare([at(2, 0.5, name="another"), NEW], NEW)
    with pytest.raises(environments.UnlikeHardware):
        drift.compare([at(1, 0.5, OTHER)], NEW)


def test_a_folder_is_a_history(tmp_path):
    for step in STEPS:
        step.save(tmp_path / "history" / f"{step.started}.json")
    (tmp_path / "history" / "notes.json").write_text("{}")
    assert [b.started for b in baseline.history(tmp_path / "history")[0]] == [step.started for step in STEPS]
    new = NEW.save(tmp_path / "new.json")
    shown = CliRunner().invoke(command, [str(tmp_path / "history"), str(new)])
    assert shown.exit_code == 0 and "drift since run of 2026-11-01" in shown.output
    assert "1 drift" in shown.output
    assert "left out of the history" in shown.output and "notes.json: not a ttprof" in shown.output
    assert CliRunner().invoke(command, [str(tmp_path / "history"), str(new), "--strict"]).exit_code == 1
    (tmp_path / "empty").mkdir()
    empty = CliRunner().invoke(command, [str(tmp_path / "empty"), str(new)])
    assert "this folder has no result and no baseline" in str(empty.exception)


def test_runs_are_ordered_by_instant_when_the_clocks_go_back(tmp_path):
    summer = msgspec.structs.replace(at(1, 1.0), started="2026-10-25T02:59:00+02:00")
    winter = msgspec.structs.replace(at(2, 1.04), started="2026-10-25T02:10:00+01:00")  # 11 minutes later
    for name, run_ in (("a", winter), ("b", summer)):
        run_.save(tmp_path / f"{name}.json")
    assert [run_.started for run_ in baseline.history(tmp_path)[0]] == [summer.started, winter.started]
    assert drift.compare([summer], winter).base == f"run of {summer.started}"
    with pytest.raises(ResultFileError, match="before"):
        drift.compare([winter], summer)
