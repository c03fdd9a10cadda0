"""The settings of the pytest plugin. Each row of ``SETTINGS`` is both a command-line option and an ini key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from ttprof.units import share


class Setting(NamedTuple):
    """A command-line option ``--ttprof-NAME`` that is also an ini key ``ttprof_NAME``."""

    name: str
    kind: Literal["path", "flag", "number", "share"]
    help: str

    @property
    def key(self) -> str:
        """The ini key; pytest stores the option under the same name."""
        return f"ttprof_{self.name}"

    @property
    def option(self) -> str:
        """The command-line option."""
        return f"--{self.key.replace('_', '-')}"


INI_TYPES: dict[str, Any] = {"path": "string", "flag": "bool", "number": "string", "share": "string"}
METAVARS = {"path": "PATH", "number": "SECONDS", "share": "SHARE"}

SETTINGS = (
    Setting("json", "path", "Write the results of all suites to this file, as a JSON list with every sample."),
    Setting("html", "path", "Write the results of all suites to this file, as one HTML page."),
    Setting("baseline", "path", "Compare every suite with this saved result and fail on regressions."),
    Setting("threshold", "share", "Slowdown against the baseline that counts as a regression, e.g. 10%."),
    Setting("confirm", "number", "Time for measuring again what would fail, per suite."),
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
            group.addoption(setting.option, dest=setting.key, metavar=METAVARS[setting.kind], default=None, help=text)
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
        values[setting.name] = _parsed(setting, value, folder) if value else value
    return values


def _parsed(setting: Setting, value: Any, folder: Path) -> Any:
    """The value of a setting that is given. Raises UsageError for what is no number or share."""
    if setting.kind == "path":
        return folder / value
    try:
        return share(value) if setting.kind == "share" else float(value) if setting.kind == "number" else value
    except ValueError as error:
        raise pytest.UsageError(f"{setting.option}: {error}") from error
