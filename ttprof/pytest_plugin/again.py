"""The command that runs one test again in another process, for an isolated suite."""

from __future__ import annotations

import sys

import pytest

OF_OTHER_TESTS = frozenset(
    {"--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first"}
    | {"--sw", "--stepwise", "--sw-skip", "--stepwise-skip"}
)
"""Options that choose among several tests, by those that failed last."""


def command(item: pytest.Item) -> list[str] | None:
    """The command, with the options of this run; None for an item that is no function in a file, such as a doctest."""
    path = getattr(item, "path", None)
    if not isinstance(item, pytest.Function) or path is None or not path.is_file():
        return None
    config = item.config
    workerinput = getattr(config, "workerinput", None)
    given = workerinput["mainargv"][1:] if workerinput is not None else config.invocation_params.args
    dropped = OF_OTHER_TESTS | set(config.option.file_or_dir or ())
    options = [str(argument) for argument in given if str(argument) not in dropped]
    if workerinput is not None or config.pluginmanager.hasplugin("xdist"):
        options += ["-n0"]
    _, _, name = item.nodeid.partition("::")
    return [sys.executable, "-m", "pytest", *options, "-s", "-p", "no:cacheprovider", f"{path}::{name}"]
