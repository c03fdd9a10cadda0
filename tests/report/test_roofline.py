from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import ncu_fakes as fakes
import pytest
from ncu_fakes import FULL, IAction

from ttprof.nsight import compute_report
from ttprof.report import ncu_kernels, roofline

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028"


@pytest.fixture
def report(monkeypatch):
    def read(*actions: IAction) -> compute_report.Report:
        monkeypatch.setitem(sys.modules, "ncu_report", fakes.module(*actions))
        Path("fake.ncu-rep").write_bytes(fakes.HEADER)
        return compute_report.read("fake.ncu-rep")

    return read


def test_the_roofs_meet_at_the_ridge_and_each_kernel_is_a_point(report):
    roof, points = roofline.figure(report(IAction())).data
    low, ridge, high = roof.x
    assert ridge == pytest.approx(2.0)  # 6 TFLOP/s over 3 TB/s
    assert low < 0.25 < ridge < high
    assert roof.y == pytest.approx((low * 3e12, 6e12, 6e12))
    assert (points.x, points.y) == ((0.25,), (5e11,))
    assert "kernel&lt;float&gt;(int)" in points.text[0] and "bound by: DRAM" in points.text[0]
    layout = roofline.figure(report(IAction())).layout
    assert layout.xaxis.type == layout.yaxis.type == "log"


def test_each_kind_of_work_and_each_device_has_its_own_roof(report):
    ops = {f"{fakes.TENSOR}.sum": (4e6, ""), f"{fakes.TENSOR}.sum.peak_sustained": (1e6, "/cycle")}
    other = FULL | {"device__attribute_display_name": ("Other GPU", "")}
    traces = roofline.figure(report(IAction(), IAction(FULL | ops), IAction(other))).data
    lines = [trace for trace in traces if trace.mode == "lines"]
    assert [line.name.split(":")[0] for line in lines] == ["Fake GPU, fp32", "Fake GPU, tensor", "Other GPU, fp32"]
    assert [line.line.dash for line in lines] == ["solid", "solid", "dash"]
    assert [trace.name for trace in traces if trace.mode == "markers"] == ["kernels, fp32", "kernels, tensor"]


def test_the_page_is_self_contained(report):
    page = roofline.write(report(IAction(), IAction({"x": (1, "")}, "bare")), "sub/roof.html").read_text(
        encoding="utf-8"
    )
    assert "Roofline of fake.ncu-rep" in page and "memory-bound: DRAM at 71 %" in page
    assert "1 of 2 kernels" in page  # not in the plot
    assert "not in this report: SM throughput (ncu --section SpeedOfLight)" in page
    assert "prefers-color-scheme: dark" in page and "default-src 'none'" in page
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "src=" not in outside and "href=" not in outside
    figure = json.loads(re.search(r"const figure = (.*);\n", page)[1])
    assert [trace["mode"] for trace in figure["data"]] == ["lines", "markers"]


def test_without_a_placed_kernel_the_page_says_so_and_has_no_script(report):
    page = roofline.write(report(IAction({"x": (1, "")})), "roof.html").read_text(encoding="utf-8")
    assert "No kernel has all the numbers" in page and "<script" not in page
    assert roofline.figure(report(IAction({"x": (1, "")}))).data == ()


def test_hostile_names_are_escaped(report):
    device = FULL | {"device__attribute_display_name": (HOSTILE, "")}
    rule = fakes.IRuleResult(HOSTILE, 3)
    hostile = report(IAction(device, HOSTILE, rules=(rule,)))
    page = roofline.write(hostile, "roof.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page and "<img src=x" not in page
    assert "&lt;img src=x" in page
    (line,) = (line for line in page.splitlines() if line.startswith("const figure = "))
    assert "<" not in line and "\u2028" not in line


def test_rates_have_three_digits():
    rates = [None, 0.0, 999.0, 1000.0, 2.444e9, 204_358_280_894.0]
    assert [ncu_kernels.rate(value) for value in rates] == ["–", "0 ", "999 ", "1 k", "2.44 G", "204 G"]
