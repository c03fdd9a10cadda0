"""Reports that are shared show neither the host nor the home folder of whoever ran the suite; the JSON keeps both."""

from __future__ import annotations

import re
from pathlib import Path

import kineto_files as k
import msgspec
import pytest
from results import case, measured, note, suite, trial, verdict

from ttprof.codes import Kind, VerdictCode
from ttprof.dashboard.archive import Archive
from ttprof.dashboard.runs import LogDirectory
from ttprof.report import github, html, jsonfile, junit, markdown, notebook, tensorboard
from ttprof.result import Element
from ttprof.verdict import Status

PRIVATE = re.compile("gpu-box-17|alice|/home")
ENVIRONMENT = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/elsewhere"}


@pytest.fixture
def private(tmp_path):
    """A saved run whose texts name a host and a home folder wherever ttprof itself puts one."""
    raised = verdict(
        Status.ERROR,
        VerdictCode.RAISED,
        "the forward of M raised ValueError: no file /home/alice/w.pt (at /home/alice/model.py:3)",
        kind=Kind.RUN,
    )
    worst = Element(reference="/home/alice/ref.py", path="out", index=[0], value=1.0, expected=2.0)
    events = [*k.two_iterations(), *(k.op("load::/home/alice/w.pt", ts, 1) for ts in (5, 105))]
    trace = tmp_path / "logs" / "run" / "t.json"
    trace.parent.mkdir(parents=True)
    k.write(trace, events)
    measured_trial = trial(
        measured("latency_ms", 1.0), trace_path=str(trace), worst=worst, notes=[note("read /home/alice/conf.yaml")]
    )
    result = suite(
        case("ffn", Status.ERROR, measured_trial, verdicts=[raised], source="/home/alice/proj/gate.py:7"),
        run_dir=str(tmp_path / "logs" / "run"),
    )
    environment = msgspec.structs.replace(result.environment, hostname="gpu-box-17")
    result = msgspec.structs.replace(result, environment=environment, started="2026-11-30T10:00:00+00:00")
    result.save(tmp_path / "logs" / "run" / "result.json")
    return result


def shared(result, folder: Path) -> dict[str, str]:
    """What each report writes, by name."""
    archive = Archive(LogDirectory(folder / "logs"), "/home/alice/logs")
    (run,) = LogDirectory(folder / "logs").runs()
    keys = [
        "runs",
        f"run/{run.id}",
        f"case/{run.id}/0",
        f"history/{run.id}/0",
        f"trace/{run.id}/0/0",
        f"timeline/{run.id}/0/0/0",
        f"compare/{run.id}/{run.id}",
    ]
    summary = folder / "summary.md"
    github.summarise([result], {**ENVIRONMENT, "GITHUB_STEP_SUMMARY": str(summary)})
    tensorboard.write(result, folder / "events")
    return {
        "html": html.write([result], folder / "r.html").read_text(encoding="utf-8"),
        "junit": junit.xml([result]),
        "markdown": markdown.markdown(result),
        "notebook": notebook.table(result),
        "figure": str(notebook.plot_timeline(result, result["ffn"]).to_dict()),
        "annotations": "\n".join(github.annotate([result], ENVIRONMENT)),
        "step summary": summary.read_text(encoding="utf-8"),
        "tensorboard": "".join(file.read_bytes().decode("latin-1") for file in (folder / "events").iterdir()),
        **{key.split("/")[0]: archive.answer(key).decode() for key in keys},
    }


def test_no_shared_report_shows_the_host_or_a_home_folder(private, tmp_path):
    texts = shared(private, tmp_path)
    assert {name: PRIVATE.findall(text) for name, text in texts.items() if PRIVATE.search(text)} == {}
    for name in ("html", "junit", "notebook", "annotations", "case"):
        assert "~/model.py:3" in texts[name], name
    for name in ("html", "trace", "timeline", "figure"):
        assert "load::~/w.pt" in texts[name], name
    assert "~/logs" in texts["runs"]


def test_the_json_keeps_them_for_later_comparisons(private, tmp_path):
    jsonfile.write([private], tmp_path / "all.json")
    text = (tmp_path / "all.json").read_text(encoding="utf-8")
    assert "gpu-box-17" in text and "/home/alice/proj/gate.py:7" in text
