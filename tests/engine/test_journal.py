"""The journal of a run: lines that survive any end of the process, and the state that is read back from them."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from machines import MACHINE
from msgspec import structs

from ttprof.bounds import Bound
from ttprof.codes import Kind, Note, NoteCode, VerdictCode
from ttprof.engine import journal as journals
from ttprof.engine import looking
from ttprof.engine.events import (
    Began,
    CaseLooked,
    CaseRecorded,
    CaseTimed,
    Closed,
    Entered,
    LookedTrial,
    Opened,
    PlannedCase,
    RecordedTrial,
    TimedTrial,
)
from ttprof.engine.journal import Follower, Journal
from ttprof.engine.judging import SuiteJudge
from ttprof.engine.lines import decode, encode
from ttprof.errors import ResultFileError
from ttprof.judge.verdicts import Rounds
from ttprof.observation import NumericError, Observation, Recording, Timing
from ttprof.result import TrialResult
from ttprof.spec import LAWS, Expected, KernelBudget, Limit, Scaling, Sweep
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict

NS = np.array([1_000_000, 2_000_000, 3_000_000])
TIMING = Timing(NS, NS, NS, warmup=2, threads=1)


def planned(name: str = "a", **expected) -> PlannedCase:
    return PlannedCase(name=name, module_type="Linear", source="gate.py:1", expected=Expected(**expected))


def opened(*cases: PlannedCase) -> Opened:
    return Opened(suite="gate", started="2026-11-30T22:00:00+00:00", environment=MACHINE, cases=list(cases))


def timed(name: str = "a", **observation) -> CaseTimed:
    result = TrialResult(point=Point(), inputs="2x4 float32", inputs_source="given")
    trial = TimedTrial(observation=Observation("cpu", timing=TIMING, **observation), result=result)
    return CaseTimed(case=name, trials=[trial], seconds={"timing": 1.5})


def recorded(name: str = "a") -> CaseRecorded:
    return CaseRecorded(case=name, trials=[RecordedTrial(module=Recording(Path(name, "trace.json"), 5))])


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "journal").read_text(encoding="utf-8").splitlines()]


def test_an_event_is_one_line_of_json_and_comes_back_equal():
    error = NumericError(float("inf"), float("nan"), None, None, "float64", rows=(np.array([0.5, np.inf]),))
    event = timed(numerics=error, flops=2**60, model_changes=("w",))
    line = encode(event)
    assert line.count(b"\n") == 1 and line.endswith(b"\n") and b"NaN" not in line
    back = decode(line)
    observation = back.trials[0].observation
    assert observation.timing.latency_ns.dtype == np.int64
    assert observation.timing.latency_ns.tolist() == NS.tolist()
    assert observation.numerics.rel == float("inf") and np.isnan(observation.numerics.max)
    assert observation.numerics.rows[0].tolist() == [0.5, np.inf]
    assert observation.flops == 2**60 and observation.model_changes == ("w",)
    assert back.seconds == {"timing": 1.5}


def test_what_a_case_expects_comes_back_equal():
    case = planned(
        limits=(Limit("latency_ms", 5.0), Limit("flops", Bound(low=2.0))),
        kernel_budgets=(KernelBudget("*gemm*", time_ms=Bound(high=1.0)),),
        scaling=Scaling(LAWS["quadratic"], at_most=True),
        sweeps=(Sweep("seq_len", (64, 128, 256)),),
    )
    assert decode(encode(opened(case))).cases[0].expected == case.expected


def test_rounds_keep_their_samples_and_their_gaps():
    event = CaseTimed(case="a", rounds=Rounds({64: np.array([1.5, 2.0]), 128: None}, extended=("rounds doubled",)))
    back = decode(encode(event)).rounds
    assert back.by_size[64].tolist() == [1.5, 2.0] and back.by_size[128] is None
    assert back.extended == ("rounds doubled",)


def test_the_journal_is_on_the_disk_after_each_event(tmp_path):
    journal = Journal.create(tmp_path, opened(planned()))
    journal.add(Began(case="a", stage="timing"))
    journal.add(Entered(phase="warm-up"))
    assert [line["event"] for line in lines(tmp_path)] == ["opened", "began", "entered"]
    assert journals.read(tmp_path).running == "a"
    assert journals.read(tmp_path).cases["a"].phase == "warm-up"
    journal.add(timed())
    back = journals.read(tmp_path)
    assert back.running is None and back.cases["a"].missing("recording") and not back.cases["a"].missing("timing")
    journal.add(recorded())
    assert journals.read(tmp_path).cases["a"].final


@pytest.mark.parametrize("kept", [1, 10, -1])
def test_a_torn_last_line_is_ignored_and_cut_off_before_the_run_goes_on(tmp_path, kept):
    journal = Journal.create(tmp_path, opened(planned()))
    before = (tmp_path / "journal").read_bytes()
    journal.add(timed())
    (tmp_path / "journal").write_bytes(before + (tmp_path / "journal").read_bytes()[len(before) :][:kept])
    assert journals.read(tmp_path).cases["a"].timed is None
    journals.resume(tmp_path).add(recorded())
    assert [line["event"] for line in lines(tmp_path)] == ["opened", "recorded"]


def test_a_damaged_line_costs_its_own_event_and_is_said(tmp_path):
    journal = Journal.create(tmp_path, opened(planned("a"), planned("b")))
    journal.add(timed("a"))
    journal.add(timed("b"))
    first, second, third = (tmp_path / "journal").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal").write_bytes(first + second.replace(b"latency_ns", b"latency_xs") + third)
    back = journals.read(tmp_path)
    assert back.cases["a"].timed is None and back.cases["b"].timed is not None
    assert "1 damaged line" in back.problem and "line 2" in back.problem


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"[]\n",
        b'{"event":"timed","case":"a"}\n',
        b"[" * 100_000 + b"\n",
        b'{"event":"opened","version":1e400}\n',
        b'{"event":"opened","version":NaN}\n',
        b'{"event":"opened","version":[]}\n',
        b"\xff\xfe\n",
        encode(opened()).replace(b'"version":1', b'"version":99'),
    ],
)
def test_what_is_no_journal_is_an_error_with_its_path(tmp_path, line):
    (tmp_path / "journal").write_bytes(line)
    with pytest.raises(ResultFileError, match="journal"):
        journals.read(tmp_path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret", "a/../../b", "C:\\x", "\\\\server\\x", "a\0"])
def test_a_recording_outside_of_the_run_is_refused(path):
    line = encode(recorded()).replace(b"a/trace.json", json.dumps(path)[1:-1].encode())
    with pytest.raises(ResultFileError, match="leads out of the folder"):
        decode(line)


@pytest.mark.parametrize("sample", [b"NaN", b"inf", b"1e400", b"[1]", b"null", b"9" * 400])
def test_a_sample_that_is_no_integer_is_refused(sample):
    quoted = b'"' + sample + b'"' if sample in (b"NaN", b"inf") else sample
    with pytest.raises(ResultFileError):
        decode(encode(timed()).replace(b"[1000000,", b"[" + quoted + b",", 1))


@pytest.mark.parametrize("samples", [b"[[1,2],[3,4]]", b"[{}]", b"[true]", b"[null]"])
def test_samples_are_numbers_in_a_row(samples):
    event = CaseTimed(case="a", rounds=Rounds({1: np.array([1.5])}))
    with pytest.raises(ResultFileError, match="one number each"):
        decode(encode(event).replace(b"[1.5]", samples))


def test_a_timing_with_fewer_numbers_of_one_kind_is_refused():
    with pytest.raises(ResultFileError, match="one number of each kind"):
        decode(encode(timed()).replace(b"[1000000,2000000,3000000]", b"[1000000]", 1))


@pytest.mark.parametrize("by_size", [b'{"0":[1.0]}', b'{"1":[]}'])
def test_rounds_that_can_not_be(by_size):
    event = CaseTimed(case="a", rounds=Rounds({1: np.array([1.0])}))
    with pytest.raises(ResultFileError, match="sizes of at least 1"):
        decode(encode(event).replace(b'{"1":[1.0]}', by_size))


@pytest.mark.parametrize("sample", [b'"nan"', b'"inf"', b"1e300", b"-1e19"])
def test_samples_of_rounds_that_can_not_be(sample):
    event = CaseTimed(case="a", rounds=Rounds({1: np.array([1.5, 2.5])}))
    with pytest.raises(ResultFileError, match="finite and have at most 64 bits"):
        decode(encode(event).replace(b"[1.5,2.5]", b"[1.5," + sample + b"]"))


def test_an_integer_of_more_than_64_bits_is_refused():
    assert decode(encode(timed(flops=2**63 - 1))).trials[0].observation.flops == 2**63 - 1
    with pytest.raises(ResultFileError, match="more than 64 bits"):
        decode(encode(timed(flops=7)).replace(b'"flops":7', b'"flops":' + b"9" * 30))


def test_a_timed_trial_with_a_trace_is_refused():
    with pytest.raises(ValueError, match="no trace yet"):
        timed(trace=object())


def test_a_full_disk_leaves_no_half_line_and_keeps_the_events_in_memory(tmp_path, monkeypatch):
    journal = Journal.create(tmp_path, opened(planned()))
    before = (tmp_path / "journal").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        journal.add(timed())
    assert (tmp_path / "journal").read_bytes() == before
    assert journal.cases["a"].timed is not None and "No space left" in journal.problem
    journal.add(recorded())
    assert [line["event"] for line in lines(tmp_path)] == ["opened", "recorded"]


def test_a_journal_whose_folder_is_removed_is_written_again(tmp_path):
    folder = tmp_path / "run"
    journal = Journal.create(folder, opened(planned()))
    journal.add(timed())
    (folder / "journal").unlink()
    folder.rmdir()
    journal.add(recorded())
    assert [line["event"] for line in lines(folder)] == ["opened", "timed", "recorded"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_ends_instead_of_writing(tmp_path):
    journal = Journal.create(tmp_path, opened(planned()))
    child = os.fork()
    if child == 0:
        journal.add(timed())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert len(lines(tmp_path)) == 1


def test_a_follower_sees_what_another_process_appends(tmp_path):
    supervisor = Journal.create(tmp_path, opened(planned()))
    follower = Follower(supervisor)
    worker = journals.resume(tmp_path)
    assert follower.new_events() == []
    worker.add(Began(case="a", stage="timing"))
    worker.add(timed())
    assert [type(event) for event in follower.new_events()] == [Began, CaseTimed]
    assert supervisor.cases["a"].timed is not None
    supervisor.add(recorded())
    follower.skip()
    assert follower.new_events() == []


def test_a_follower_reads_a_journal_that_took_the_place_of_another(tmp_path):
    supervisor = Journal.create(tmp_path, opened(planned()))
    follower = Follower(supervisor)
    worker = journals.resume(tmp_path)
    (tmp_path / "journal").rename(tmp_path / "old")
    worker.add(timed())
    assert CaseTimed in [type(event) for event in follower.new_events()]
    assert supervisor.cases["a"].timed is not None


def judged(tmp_path: Path, *events, **expected):
    journal = Journal(tmp_path, opened(planned(**expected)))
    for event in events:
        journal.apply(event)
    result = SuiteJudge(journal).result()
    return result, result["a"]


def test_a_run_that_ended_before_a_case_is_an_error_that_says_how_far_it_came(tmp_path):
    result, case = judged(tmp_path)
    assert result.interrupted and not result.passed
    assert case.errors == ["not finished: the run was interrupted"]
    assert case.verdicts[0].code is VerdictCode.INTERRUPTED
    _, case = judged(tmp_path, Began(case="a", stage="timing"), Entered(phase="warm-up"))
    assert case.errors == ["it was interrupted during warm-up"]


def test_a_case_that_would_fail_is_doubted_once_until_it_is_looked_at(tmp_path):
    journal = Journal.create(tmp_path, opened(planned("a", limits=(Limit("latency_ms", 1e-6),)), planned("b")))
    journal.add(timed("a"))
    journal.add(timed("b"))
    assert looking.doubt(journal) == looking.doubt(journal) == ["a"]
    assert journal.cases["a"].missing("looking") and journal.cases["a"].doubts == 1
    journal.add(CaseLooked(case="a", trials=[LookedTrial(module=TIMING)], process=2))
    assert not journal.cases["a"].missing("looking")
    assert looking.doubt(journal) == ["a"]
    again = journals.read(tmp_path).cases["a"]
    assert (again.doubts, len(again.looks)) == (2, 1) and np.array_equal(again.looks[0].trials[0].module.cpu_ns, NS)


def test_an_interrupted_look_is_named(tmp_path):
    began = (Began(case="a", stage="looking"), Entered(phase="timing"))
    _, case = judged(tmp_path, timed(), *began, limits=(Limit("latency_ms", 5.0),))
    assert "timed; timing it again was interrupted during timing" in case.errors


def test_a_look_that_could_not_be_made_is_a_note(tmp_path):
    _, case = judged(tmp_path, timed(), CaseLooked(case="a", problem="no luck"), recorded(), Closed())
    assert [note.text for note in case.trials[0].notes] == ["it could not be timed again: no luck"]


def test_a_case_that_was_timed_keeps_its_limits_and_is_an_error(tmp_path):
    began = (Began(case="a", stage="recording"), Entered(phase="profiling"))
    _, case = judged(tmp_path, timed(), *began, limits=(Limit("latency_ms", 5.0),))
    assert case.status is Status.ERROR and case.errors == ["timed; its recording was interrupted during profiling"]
    limit = next(verdict for verdict in case.verdicts if verdict.kind is Kind.LIMIT)
    assert limit.status is Status.PASS and limit.measured == 2.0


def test_trials_that_are_not_those_of_the_sweep_are_an_error(tmp_path):
    swept = {"scaling": Scaling(LAWS["linear"]), "sweeps": (Sweep("seq_len", (1, 2, 4)),)}
    event = timed()
    trial = event.trials[0]
    at_zero = structs.replace(trial, result=structs.replace(trial.result, point=Point(seq_len=0)))
    for trials in ([trial], [at_zero]):
        _, case = judged(tmp_path, structs.replace(event, trials=trials), recorded(), **swept)
        assert case.status is Status.ERROR and "not those of its sweep" in case.errors[0]


def test_a_trace_that_can_not_be_read_is_an_error_beside_the_limits(tmp_path):
    result, case = judged(tmp_path, timed(), recorded(), Closed(), limits=(Limit("latency_ms", 1.5),))
    assert not result.interrupted
    assert {(v.code, v.status) for v in case.verdicts} == {
        (VerdictCode.TRACE_UNREADABLE, Status.ERROR),
        (VerdictCode.LIMIT_UNDECIDED, Status.INCONCLUSIVE),
    }


def test_a_link_out_of_the_folder_of_the_run_is_not_read(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "trace.json").write_text('{"traceEvents":[]}')
    run = tmp_path / "run"
    run.mkdir()
    (run / "a").symlink_to(tmp_path / "secret")
    _, case = judged(run, timed(), recorded(), Closed())
    assert "a link leads out of the folder of the run" in case.errors[0]


def test_an_error_of_a_pass_is_the_verdict_and_a_final_case_has_nothing_to_record(tmp_path):
    verdict = Verdict(
        kind=Kind.RUN, code=VerdictCode.RAISED, expectation="runs", status=Status.ERROR, reason="it raised"
    )
    _, case = judged(tmp_path, CaseTimed(case="a", verdicts=[verdict]), Closed())
    assert case.verdicts == [verdict] and case.trials == []


def test_notes_of_a_recording_survive(tmp_path):
    note = Note(NoteCode.KERNEL_EXPLAINED, "gemm: memory bound")
    event = recorded()
    trial = replace(event.trials[0].module, notes=(note,))
    back = decode(encode(CaseRecorded(case="a", trials=[RecordedTrial(module=trial)])))
    assert back.trials[0].module == trial


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no flock")
def test_one_process_at_a_time_works_on_a_run(tmp_path):
    journal = Journal.create(tmp_path, opened(planned()))
    journal.claim()
    other = journals.read(tmp_path)
    with pytest.raises(ResultFileError, match="another process works on this run"):
        other.claim()
    journal.give_up()
    other.claim()
