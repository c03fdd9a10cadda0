"""``ttprof view``: which TensorBoard is started; that it serves is tested where there is one."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from ttprof.cli import view
from ttprof.dashboard import serve


@pytest.fixture
def started(monkeypatch):
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: commands.append(arguments))
    return commands


@pytest.mark.parametrize(
    ("traces", "options", "module"),
    [
        (view.MOST_TRACES, [], "tensorboard.main"),
        (view.MOST_TRACES + 1, [], "ttprof.dashboard.serve"),
        (view.MOST_TRACES + 1, ["--all-tabs"], "tensorboard.main"),
    ],
)
def test_a_tab_that_would_start_hundreds_of_processes_is_left_out_and_said(tmp_path, started, traces, options, module):
    for number in range(traces):
        (tmp_path / f"{number}.pt.trace.json").touch()
    shown = CliRunner().invoke(view.command, [str(tmp_path), "--port", "7", *options])
    assert shown.exit_code == 0
    ((_, _, chosen, *rest),) = started
    assert (chosen, rest) == (module, ["--logdir", str(tmp_path), "--host", "127.0.0.1", "--port", "7"])
    assert "http://127.0.0.1:7/" in shown.output.splitlines()[0], "its address is told before anything is waited for"
    assert ("PYTORCH_PROFILER is left out" in shown.output) is (module == "ttprof.dashboard.serve")


def test_the_tab_that_is_left_out_is_that_one_alone():
    from tensorboard import default

    def names(plugins):
        return {f"{each.__module__}.{each.__name__}" for each in plugins if isinstance(each, type)}

    gone = names(default.get_plugins()) - names(serve.plugins())
    assert gone == {"torch_tb_profiler.plugin.TorchProfilerPlugin"}
    assert "ttprof.dashboard.plugin.Plugin" in names(serve.plugins())
