"""The lines that call the operators of an iteration, as their source files number them."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ttprof import TestSuite
from ttprof.operators import CallLine
from ttprof.run.work import count_work


class Written(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        y = self.inner(x)  # addmm
        return y + torch.ones(4) + torch.ones(4)  # ones


def line_of(marker: str) -> int:
    lines, first = inspect.getsourcelines(Written)
    return first + next(index for index, line in enumerate(lines) if marker in line)


def operators(call) -> dict[str, tuple[float, list[CallLine]]]:
    return {use.name: (use.count, use.lines) for use in count_work(call).operators}


@pytest.fixture
def here(monkeypatch) -> str:
    monkeypatch.chdir(Path(__file__).parent)
    return Path(__file__).name


def test_operators_are_counted_by_the_line_that_calls_them(here):
    module, x = Written(), torch.ones(2, 4)
    with torch.no_grad():
        found = operators(lambda: module(x))
    assert {name: count for name, (count, _) in found.items()} == {
        "aten::addmm": 1,
        "aten::t": 1,
        "aten::ones": 2,
        "aten::add": 2,
    }
    assert [line.place for line in found["aten::addmm"][1]] == [f"{here}:{line_of('# addmm')}"]
    assert [(line.place, line.count) for line in found["aten::ones"][1]] == [(f"{here}:{line_of('# ones')}", 2)]


def test_the_operators_of_a_backward_have_no_line(here, tmp_path):
    suite = TestSuite(Written(), inputs=torch.ones(2, 4), quiet=True, trace_dir=tmp_path)
    suite.test(suite.model.inner).backward().profile(1, 2)
    (case,) = suite.run()
    lines = {use.name: use.lines for use in case.trials[0].operators if use.kind == "operator"}
    assert lines["aten::mm"] == []  # only the backward multiplies without a bias
    assert all(not line.place.startswith(here) for line in lines["aten::addmm"])


def test_a_line_of_a_composite_operator_is_that_of_its_call(here):
    x = torch.ones(2, 4)
    with torch.inference_mode():
        found = operators(lambda: F.layer_norm(x, (4,)))
    (line,) = found["aten::native_layer_norm"][1]
    assert line.place.startswith(here)


def test_the_same_text_has_the_same_digest_wherever_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, above in (("first_module", ""), ("second_module", "# one\n# two\n")):
        Path(f"{name}.py").write_text(
            f"{above}import torch\n\ndef call(x):\n    return torch.relu(x)\n", encoding="utf-8"
        )
        module = __import__(name)
        found.append(operators(lambda module=module: module.call(torch.ones(2)))["aten::relu"][1][0])
        del sys.modules[name]
    assert [line.place for line in found] == ["first_module.py:4", "second_module.py:6"]
    assert found[0].digest == found[1].digest
