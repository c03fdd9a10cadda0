"""The settings of the pytest plugin. Each row of ``SETTINGS`` is both a command-line option and an ini key."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pytest


class Setting(NamedTuple):
    """A command-line option ``--ttprof-NAME`` that is also an ini key ``ttprof_NAME``."""

    name: str
    kind: Literal["path", "flag"]
    help: str

    @property
    def key(self) -> str:
        """The ini key; pytest stores the option under the same name."""
        return f"ttprof_{self.name}"

    @property
    def option(self) -> str:
        """The command-line option."""
        return f"--{self.key.replace('_', '-')}"


INI_TYPES: dict[str, Any] = {"path": "string", "flag": "bool"}

SETTINGS = (
    Setting("json", "path", "Write the results of all suites to this file, as a JSON list with every sample."),
    Setting("html", "path", "Write the results of all suites to this file, as one HTML page."),
    Setting("baseline", "path", "Compare every suite with this saved result and fail on regressions."),
    Setting("strict", "flag", "Treat INCONCLUSIVE as failure."),
    Setting("isolate", "flag", "Run the cases of every suite in processes of their own: a crash ends one case."),
    Setting("trace_dir", "path", "Directory for the traces and results of suites."),
)


def declare(parser: pytest.Parser) -> None:
    """Add every setting to pytest's command line and ini file. The default is None: not given."""
    group = parser.getgroup("ttprof", "ttprof: performance tests of PyTorch modules")
    for setting in SETTINGS:
        text = f"{setting.help} (ini: {setting.key})"
        if setting.kind == "flag":
            negative = setting.option.replace("--", "--no-", 1)
            group.addoption(setting.option, dest=setting.key, action="store_true", default=None, help=text)
            group.addoption(negative, dest=setting.key, action="store_false", help=f"Turn off {setting.option}.")
        else:
            group.addoption(setting.option, dest=setting.key, metavar="PATH", default=None, help=text)
        parser.addini(setting.key, setting.help, type=INI_TYPES[setting.kind], default=None)


def read(config: pytest.Config) -> dict[str, Any]:
    """Return the value of each setting by name: from the command line, else from the ini file, else None.

    A path is relative to the folder pytest was started in, or to that of the ini file if it comes from there.
    """
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        value, folder = config.getoption(setting.key), config.invocation_params.dir
        if value is None:
            value, folder = config.getini(setting.key), config.inipath.parent if config.inipath else folder
        values[setting.name] = folder / value if setting.kind == "path" and value else value
    return values
