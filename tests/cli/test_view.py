"""``ttprof view``: which TensorBoard it starts; tests/dashboard checks that it serves."""

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
    ("traces", "options", "reduced"),
    [
        (view.MAX_TRACES, [], []),
        (view.MAX_TRACES + 1, [], [serve.OPTION]),
        (view.MAX_TRACES + 1, ["--all-tabs"], []),
    ],
)
def test_a_tab_that_would_start_hundreds_of_processes_is_left_out_with_a_message(
    tmp_path, started, traces, options, reduced
):
    for number in range(traces):
        (tmp_path / f"{number}.pt.trace.json").touch()
    shown = CliRunner().invoke(view.command, [str(tmp_path), "--port", "7", *options])
    assert shown.exit_code == 0
    ((_, _, chosen, *rest),) = started
    assert chosen == "ttprof.dashboard.serve"
    assert rest == [*reduced, "--logdir", str(tmp_path), "--host", "127.0.0.1", "--port", "7"]
    assert "http://127.0.0.1:7/" in shown.output.splitlines()[0], "the address is printed before TensorBoard starts"
    assert ("left out the PYTORCH_PROFILER tab" in shown.output) is bool(reduced)


def test_only_that_tab_is_left_out():
    from tensorboard import default

    def names(plugins):
        return {f"{plugin.__module__}.{plugin.__name__}" for plugin in plugins if isinstance(plugin, type)}

    gone = names(default.get_plugins()) - names(serve.plugins())
    assert gone == {"torch_tb_profiler.plugin.TorchProfilerPlugin"}
    assert "ttprof.dashboard.plugin.Plugin" in names(serve.plugins())
