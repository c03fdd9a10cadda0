"""Copies small traces for ``traces/reference/``, without the names of the machine and the user."""

from __future__ import annotations

import getpass
import gzip
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from gpu.comparing import Comparison

MAX_BYTES = 200_000
"""Larger traces are left out."""

PRIVATE_KEYS = ("traceName", "host_name", "hostname", "username")
"""Keys at the top of a trace that may name the machine or the user."""


def save(
    traces: Mapping[str, Path], comparisons: Mapping[str, Iterable[Comparison]], folder: Path, names: Iterable[str]
) -> list[str]:
    """Copy the traces of checks, and the independent numbers beside them. Returns a line on each for the report."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    private = [name for name in names if len(name) > 2]
    for check, path in traces.items():
        packed = gzip.compress(anonymous(gzip.decompress(path.read_bytes()), private), mtime=0)
        name = check.replace(", ", "_").replace(" ", "_")
        if len(packed) > MAX_BYTES:
            lines.append(f"{name}: left out, {len(packed)} bytes are more than {MAX_BYTES}")
            continue
        (folder / f"{name}.json.gz").write_bytes(packed)
        of_check = [c for name, group in comparisons.items() if check.startswith(name) for c in group]
        expected = {f"{c.what} [{c.against}]": c.theirs for c in of_check}
        text = json.dumps(expected, indent=2, ensure_ascii=False)
        (folder / f"{name}.expected.json").write_text(text + "\n", encoding="utf-8")
        lines.append(f"{name}.json.gz: {len(packed)} bytes")
    return lines


def anonymous(trace: bytes, private: Iterable[str]) -> bytes:
    """The trace without private keys, and with every name in *private* blanked wherever it occurs."""
    document = json.loads(trace)
    for key in PRIVATE_KEYS:
        document.pop(key, None)
    text = json.dumps(document, separators=(",", ":"))
    for name in private:
        text = text.replace(json.dumps(name)[1:-1], "x" * len(name))
    return text.encode()


def private_names() -> list[str]:
    """The names of this machine, its user and the folders that lead to them, longest first."""
    names = {platform.node(), platform.node().partition(".")[0], getpass.getuser(), str(Path.home()), str(Path.cwd())}
    return sorted(filter(None, names), key=len, reverse=True)
