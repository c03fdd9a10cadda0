"""``ttprof analyze`` on terminals: hostile names, narrow windows, hints and counts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import kineto_files as k
import nsys_files as n
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command

HOSTILE = "a\x1b[31m\x9b\r\u2028\u202ez"
ESCAPED = r"a\x1b[31m\x9b\r\u2028\u202ez"
ACTING = re.compile("[\x1b\x9b\r\u2028\u202e]")


def analyze(*arguments: object, columns: int = 150):
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(command, [str(argument) for argument in arguments])


def hostile_trace(path: str, **top: object) -> Path:
    """A trace in which every name is hostile: kernels, ops, copies, calls, steps, modules and the device."""
    events = [
        k.span("user_annotation", f"ProfilerStep#1{HOSTILE}", 0, 100),
        k.span("python_function", f"nn.Module: {HOSTILE}_0", 1, 90, **{"Python id": 1, "Python module id": 0}),
        k.op(HOSTILE, 2, 80),
        k.launch(5, 1),
        k.launch(6, 2, f"cudaMemcpy{HOSTILE}"),
        k.kernel(HOSTILE, 10, 20, 1),
        k.span("gpu_memcpy", HOSTILE, 60, 5, correlation=2, device=0, stream=7),
        k.memory(3, 64, 64),
    ]
    return k.write(Path(path), events, deviceProperties=[{"name": HOSTILE}], **top)


@pytest.mark.parametrize("columns", [40, 150])
def test_hostile_names_are_escaped_in_a_summary_a_diff_and_a_folder(columns):
    Path("runs").mkdir()
    hostile = hostile_trace("runs/a\x1b[31m.json", distributedInfo={"rank": 0})
    Path("runs/broken\x1b[31m.json").write_text("{", encoding="utf-8")
    plain = k.write(Path("plain.json"), k.two_iterations())
    for arguments in ([hostile], [hostile, "--diff", plain], [plain, "--diff", hostile], ["runs"]):
        shown = analyze(*arguments, columns=columns)
        assert isinstance(shown.exception, SystemExit) or shown.exception is None
        assert r"\x1b" in shown.stdout and not ACTING.search(shown.stdout)
    assert ESCAPED in analyze(hostile).stdout


def test_hostile_names_stay_as_they_are_in_json():
    kernels = json.loads(analyze(hostile_trace("t.json"), "--json").stdout)["kernels"]
    assert [row["name"] for row in kernels["by_name"]] == [HOSTILE]


@pytest.mark.parametrize("launched", [True, False])
def test_hostile_ranges_of_nsight_systems_are_escaped(tmp_path, launched):
    kernels = [n.kernel(5, 8, 1)] if launched else []
    path = n.write(tmp_path / "t.sqlite", kernel=kernels, runtime=[n.launch(1, 2, 1)], nvtx=[n.pushed(0, 5, HOSTILE)])
    shown = analyze(path).stdout
    assert ESCAPED in shown and not ACTING.search(shown)
    assert ("launched in NVTX range" in shown) is launched


def test_a_narrow_terminal_keeps_every_column():
    step = [k.span("user_annotation", "ProfilerStep#1", 0, 100), k.launch(5, 1), k.kernel("gemm", 10, 20, 1)]
    path = k.write(Path("t.json"), step)
    rows = [" ".join(line.split()) for line in analyze(path, columns=40).stdout.splitlines()]
    assert "gemm 1 20.00 µs 100.0 % 20.00 µs 20.00 µs 20.00 µs" in rows
    assert "ProfilerStep#1 100.00 µs 1 20.00 µs 20.00 µs 1 20.00 µs" in rows


def test_rows_that_top_hides_are_counted():
    waits = [
        k.launch(number, number, name) for number, name in enumerate(("cudaDeviceSynchronize", "cudaStreamSynchronize"))
    ]
    shown = analyze(k.write(Path("t.json"), [*k.two_iterations(), *waits]), "--top", 1).stdout
    assert "1 more name " in shown and "1 more call" in shown and "1 more names" not in shown


def test_missing_parts_are_named_with_how_to_record_them(tmp_path):
    shown = analyze(k.write(Path("t.json"), [k.op("aten::mm", 0, 5)])).stdout
    assert "not recorded: modules (use with_stack=True), memory (use profile_memory=True), steps (use " in shown
    shown = analyze(n.write(tmp_path / "t.sqlite", nvtx=[n.pushed(0, 5, "range")])).stdout
    assert "operators (use torch.autograd.profiler.emit_nvtx())" in " ".join(shown.split())
    assert "steps" not in shown


def grown_by(share: float) -> tuple[str, str]:
    """Two traces; the kernels of the second take longer by a share."""
    k.write(Path("a.json"), [k.kernel("gemm", 0, 100, 1), k.kernel("relu", 200, 100, 2)])
    k.write(Path("b.json"), [k.kernel("gemm", 0, 100 + 200 * share, 1), k.kernel("relu", 400, 100, 2)])
    return "a.json", "b.json"


@pytest.mark.parametrize(
    ("share", "allowed", "code"), [(0.2, "5%", 1), (0.04, "5%", 0), (0.04, "0.03", 1), (-0.2, "0", 0)]
)
def test_a_diff_as_a_gate(share, allowed, code):
    a, b = grown_by(share)
    done = CliRunner().invoke(command, [a, "--diff", b, "--fail-over", allowed])
    assert done.exit_code == code
    if code:
        assert f"kernel time +{100 * share:.{0 if share > 0.1 else 1}f} % (200.00 µs" in done.stderr
        assert "what grew: gemm +" in done.stderr and "relu" not in done.stderr
    as_json = CliRunner().invoke(command, [a, "--diff", b, "--fail-over", allowed, "--json"])
    assert as_json.exit_code == code and json.loads(as_json.stdout)["per"] == "trace"


def test_a_gate_does_not_judge_incomplete_traces_and_needs_two():
    a, _ = grown_by(0.0)
    k.write(Path("bad.json"), [k.kernel("gemm", 0, -5, 1), k.kernel("relu", 200, 100, 2)])
    done = CliRunner().invoke(command, [a, "--diff", "bad.json", "--fail-over", "5%"])
    assert done.exit_code == 2 and "not judged by --fail-over" in done.stderr
    alone = CliRunner().invoke(command, [a, "--fail-over", "5%"])
    assert alone.exit_code == 2 and "--fail-over compares two traces" in alone.stderr
    wrong = CliRunner().invoke(command, [a, "--diff", a, "--fail-over", "lots"])
    assert wrong.exit_code == 2 and "is not a fraction or percentage" in wrong.stderr


def test_patterns_of_communication():
    k.write(Path("t.json"), [k.kernel("my_ring_step", 0, 100, 1)])
    for options, verdict in (([], "compute-bound"), (["--communication", "RING_"], "communication-bound")):
        done = CliRunner().invoke(command, ["t.json", "--json", *options])
        assert json.loads(done.stdout)["devices"][0]["bound"]["verdict"] == verdict
    wrong = CliRunner().invoke(command, ["t.json", "--communication", "("])
    assert wrong.exit_code == 2 and "is no regular expression" in wrong.stderr


def test_a_report_as_markdown():
    k.write(Path("t.json"), [*k.two_iterations(), k.kernel("a|b<c>", 500, -1, 9)])
    done = CliRunner().invoke(command, ["t.json", "--markdown"])
    lines = done.stdout.splitlines()
    assert lines[0].startswith("### t.json · kineto · 23 events")
    assert any(line.startswith("WARNING impossible records: 1 of 5 kernels left out") for line in lines)
    assert "| kernel | count | time | share | mean | median | p99 |" in lines
    assert "| softmax | 2 | 40.00 µs | 66.7 % | 20.00 µs | 20.00 µs | 20.00 µs |" in lines
    assert "| &emsp;stream 7 | 4 | 28.00 µs | 28.00 µs |  |  |  |" in lines
    widths = {line.count("|") for line in lines if line.startswith(("| kernel", "| softmax"))}
    assert len(widths) == 1 and "a\\|b&lt;c&gt;" in done.stdout
    both = CliRunner().invoke(command, ["t.json", "--markdown", "--json"])
    assert both.exit_code == 2 and "choose one" in both.stderr


def test_a_diff_and_a_folder_as_markdown():
    a, b = grown_by(0.2)
    assert (
        "| gemm | slower | 1 | 1 | 100.00 µs | 140.00 µs |"
        in CliRunner().invoke(command, [a, "--diff", b, "--markdown"]).stdout
    )
    assert "| a.json |" in CliRunner().invoke(command, [a, b, "--markdown"]).stdout


def test_like_gaps_are_one_line_and_tiny_ones_none():
    events = [k.kernel("gemm", 120 * i, 100, i + 1) for i in range(4)]
    k.write(Path("t.json"), [*events, k.kernel("relu", 462, 5000, 9)])
    shown = CliRunner().invoke(command, ["t.json"]).stdout
    assert shown.count("gap of ") == 0  # 20 µs of 5.4 ms
    k.write(Path("t.json"), events)
    shown = CliRunner().invoke(command, ["t.json"]).stdout
    assert shown.count("gap of ") == 1 and "gap of 20.00 µs between gemm and gemm (2 more like it)" in shown
