"""A result in a notebook: escaped, drawn by plotly, and as a data frame, or an error that names the missing package."""

from __future__ import annotations

import subprocess
import sys

import kineto_files
import msgspec
import pytest
from results import SUITES, case, measured, suite, trial

from ttprof import SuiteResult
from ttprof.dashboard import documents
from ttprof.errors import ResultFileError, TraceError, TtprofError, UnknownNameError
from ttprof.report import notebook
from ttprof.verdict import Status


@pytest.mark.parametrize("name", SUITES)
def test_every_result_has_a_table_in_which_names_are_escaped(name):
    shown = SUITES[name]._repr_html_()
    assert shown.count("<tr>") == 1 + sum(max(1, len(case.trials)) for case in SUITES[name])
    assert "<script>" not in shown


def test_a_failure_is_shown_below_the_table():
    assert "<b>FAIL</b> ffn: latency_ms is 7 ms" in SUITES["failing"]._repr_html_()


def test_a_scaling_is_a_figure():
    pytest.importorskip("plotly")
    figure = SUITES["swept"].plot_scaling("ffn")
    assert list(figure.data[-1].x) == [1, 2, 4] and figure.layout.xaxis.type == "log"
    assert SUITES["swept"].plot_scaling(SUITES["swept"]["ffn"]) == figure
    with pytest.raises(ResultFileError, match="no scaling"):
        SUITES["passing"].plot_scaling(0)


def test_a_wrong_name_suggests_the_nearest():
    for look_up in (SUITES["swept"].plot_scaling, SUITES["swept"].plot_timeline, SUITES["swept"].__getitem__):
        with pytest.raises(UnknownNameError, match="unknown case 'fnn'; did you mean 'ffn'") as raised:
            look_up("fnn")
        assert isinstance(raised.value, KeyError)


def traced(tmp_path) -> SuiteResult:
    kineto_files.write(tmp_path / "t.json", kineto_files.two_iterations())
    result = msgspec.structs.replace(SUITES["passing"], run_dir=str(tmp_path))
    trial = msgspec.structs.replace(result[0].trials[0], trace_path=str(tmp_path / "t.json"))
    return msgspec.structs.replace(result, cases=[msgspec.structs.replace(result[0], trials=[trial])])


def test_a_timeline_is_a_figure(tmp_path):
    pytest.importorskip("plotly")
    figure = traced(tmp_path).plot_timeline("ffn")
    assert {bars.name for bars in figure.data} == {"annotation", "call", "kernel", "memcpy"}
    kernels = next(bars for bars in figure.data if bars.name == "kernel")
    assert sorted(kernels.x) == [10, 20] and set(kernels.hovertext) == {"gemm", "softmax"}
    with pytest.raises(TraceError, match="no trace"):
        SUITES["hostile"].plot_timeline(0)


def test_measurements_are_rows():
    pytest.importorskip("pandas")
    frame = SUITES["swept"].to_dataframe()
    assert frame[["case", "seq_len", "metric", "value"]].values.tolist() == [
        ["ffn", 64, "latency_ms", 1.0],
        ["ffn", 128, "latency_ms", 2.0],
    ]
    assert len(SUITES["empty"].to_dataframe()) == 0


def test_a_statistic_of_another_metrics_samples_has_their_count(tmp_path):
    pytest.importorskip("pandas")
    kept = msgspec.structs.replace(measured("latency_ms", 1.0), samples=[1.0] * 12)
    tail = msgspec.structs.replace(measured("latency_p90_ms", 1.0), samples_of="latency_ms")
    both = msgspec.structs.replace(trial(kept, tail), reference=[kept, tail])
    assert suite(case("ffn", Status.PASS, both)).to_dataframe()["samples"].tolist() == [12, 12]
    shown = documents.case(0, case("ffn", Status.PASS, both)).trials[0]
    assert [m.count for m in (*shown.measurements, *shown.reference)] == [12, 12, 12, 12]


def test_a_missing_package_is_named_with_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(TtprofError, match="pip install pandas"):
        notebook.to_dataframe(SUITES["swept"])


@pytest.mark.parametrize("load", ["import ttprof; load = ttprof.load", "from ttprof.result_file import load"])
def test_a_loaded_result_shows_itself_and_loads_no_torch(tmp_path, load):
    path = SUITES["swept"].save(tmp_path / "result.json")
    code = f"import sys; {load}; load({str(path)!r})._repr_html_(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
