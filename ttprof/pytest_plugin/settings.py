"""The settings of the pytest plugin: each an option of the command line and a key of the ini file, declared once.

pytest's parser enters, and its configuration; the value of each setting leaves.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pytest


class Setting(NamedTuple):
    """An option of the command line, ``--ttprof-NAME``, and its key in the ini file, ``ttprof_NAME``."""

    name: str
    kind: Literal["path", "flag"]
    help: str

    @property
    def key(self) -> str:
        """What pytest stores it under."""
        return f"ttprof_{self.name}"

    @property
    def option(self) -> str:
        """What one types."""
        return f"--{self.key.replace('_', '-')}"


INI_TYPES: dict[str, Any] = {"path": "string", "flag": "bool"}

SETTINGS = (
    Setting("json", "path", "Write the results of all suites, with every sample, as a JSON list."),
    Setting("html", "path", "Write the results of all suites as one HTML page."),
    Setting("baseline", "path", "Compare every suite with this baseline: what regressed fails."),
    Setting("strict", "flag", "Let INCONCLUSIVE fail too."),
    Setting("trace_dir", "path", "Where suites leave their traces and results."),
)


def declare(parser: pytest.Parser) -> None:
    """Declare every setting for the command line and the ini file; a default of None means not given."""
    group = parser.getgroup("ttprof", "ttprof: performance tests of PyTorch modules")
    for row in SETTINGS:
        text = f"{row.help} (ini: {row.key})"
        if row.kind == "flag":
            negative = row.option.replace("--", "--no-", 1)
            group.addoption(row.option, dest=row.key, action="store_true", default=None, help=text)
            group.addoption(negative, dest=row.key, action="store_false", help=f"The opposite of {row.option}.")
        else:
            group.addoption(row.option, dest=row.key, metavar="PATH", default=None, help=text)
        parser.addini(row.key, row.help, type=INI_TYPES[row.kind], default=None)


def settings(config: pytest.Config) -> dict[str, Any]:
    """Each setting by name: from the command line, else from the ini file (where paths start at it), else None."""
    found: dict[str, Any] = {}
    for row in SETTINGS:
        value, folder = config.getoption(row.key), config.invocation_params.dir
        if value is None:
            value, folder = config.getini(row.key), config.inipath.parent if config.inipath else folder
        found[row.name] = folder / value if row.kind == "path" and value else value
    return found
