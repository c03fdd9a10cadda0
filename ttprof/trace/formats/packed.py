"""Unpacks the one trace of an archive or a compressed file, and of standard input, to a temporary file.

Traces are attached and stored as .zip, .tar.gz, .zst, .xz and .bz2. The format is told by the first bytes, never by the
name. Plain gzip is not unpacked: the readers stream it.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.budget import Budget, OverBudget
from ttprof.system.files import open_regular

STDIN = "-"
"""The name of standard input."""

BLOCK = 1 << 20
MAX_DEPTH = 3
"""Layers that are unpacked: an archive in a compressed file that an archive holds."""

MAX_NAMED = 5
"""Members that an error names."""

_TRACES = (".json", ".json.gz", ".sqlite", ".nsys-rep", ".qdrep")
_TAR_AT, _TAR = 257, b"ustar"


class Packing(NamedTuple):
    """A compressed format: its name, its first bytes, and how to open a file of it for reading."""

    name: str
    magic: bytes
    open: Callable[[IO[bytes]], IO[bytes]]


def _open_zstd(file: IO[bytes]) -> IO[bytes]:
    for module, name in (("compression.zstd", "ZstdFile"), ("pyzstd", "ZstdFile")):
        try:
            return getattr(importlib.import_module(module), name)(file)  # type: ignore[no-any-return]
        except ImportError:
            continue
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        raise TraceError(
            "a .zst file, which needs the package zstandard: pip install zstandard, or unpack it with zstd -d",
            TraceErrorCode.READER_MISSING,
        ) from error
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)  # type: ignore[no-any-return]


COMPRESSED = (
    Packing("xz", b"\xfd7zXZ\x00", lzma.LZMAFile),
    Packing("bzip2", b"BZh", bz2.BZ2File),
    Packing("zstd", b"\x28\xb5\x2f\xfd", _open_zstd),
)
_GZIP, _ZIP = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The trace in a file: the file itself unless it is packed, and then a temporary file, deleted afterwards.

    Raises:
        TraceError: the archive or the compressed data are damaged, hold no trace or several, or ask for more than
            their size allows.
    """
    with tempfile.TemporaryDirectory(prefix="ttprof-unpacked-") as folder:
        file, shown = path, path
        if str(path) == STDIN:
            try:
                file = _copy(sys.stdin.buffer, Path(folder, "stdin"), None)
            except OSError as error:
                raise TraceError.from_os(STDIN, error) from error
        for layer in range(MAX_DEPTH):
            inside = _unpacked_once(file, Path(folder, str(layer)), shown)
            if inside is None:
                break
            file = inside
        try:
            yield file
        except TraceError as error:
            if file == path or error.path != file:
                raise
            raise TraceError(error.reason, error.code, shown) from error


def _unpacked_once(file: Path, folder: Path, shown: Path) -> Path | None:
    """The content of a packed file, in *folder*; None if it is not packed."""
    try:
        with open_regular(file) as packed:
            head = packed.read(_TAR_AT + len(_TAR))
            packed.seek(0)
            budget = Budget(file.stat().st_size)
            if head.startswith(_ZIP):
                return _from_zip(packed, folder, budget, shown)
            if _is_tar(head):
                return _from_tar(packed, folder, budget, shown)
            if head.startswith(_GZIP):
                return _from_packed_tar(packed, folder, budget, shown)
            for packing in COMPRESSED:
                if head.startswith(packing.magic):
                    folder.mkdir()
                    return _copy(packing.open(packed), folder / "content", budget)
            return None
    except TraceError as error:
        raise TraceError(error.reason, error.code, shown) from error
    except OverBudget as error:
        raise TraceError(error.reason, TraceErrorCode.TOO_LARGE, shown) from error
    except OSError as error:
        if error.errno is not None:
            raise TraceError.from_os(shown, error) from error
        raise TraceError(f"damaged compressed data: {error}", TraceErrorCode.CORRUPT, shown) from error
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, RuntimeError) as error:
        raise TraceError(f"a damaged or encrypted archive: {error}", TraceErrorCode.CORRUPT, shown) from error


def _is_tar(head: bytes) -> bool:
    return head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR


def _from_zip(packed: IO[bytes], folder: Path, budget: Budget, shown: Path) -> Path:
    with zipfile.ZipFile(packed) as archive:
        name = _only_trace("zip", [info.filename for info in archive.infolist() if not info.is_dir()], shown)
        folder.mkdir()
        with archive.open(name) as member:
            return _copy(member, folder / _plain(name), budget)


def _from_packed_tar(packed: IO[bytes], folder: Path, budget: Budget, shown: Path) -> Path | None:
    """The trace in a .tar.gz; None for any other gzip file, damaged ones included, which the readers read."""
    try:
        with gzip.GzipFile(fileobj=packed) as content:
            if not _is_tar(content.read(_TAR_AT + len(_TAR))):
                return None
    except (OSError, EOFError, zlib.error):
        return None
    packed.seek(0)
    return _from_tar(packed, folder, budget, shown)


def _from_tar(packed: IO[bytes], folder: Path, budget: Budget, shown: Path) -> Path:
    with tarfile.open(fileobj=packed, mode="r:*") as archive:
        members = {member.name: member for member in archive if member.isreg()}
        name = _only_trace("tar", list(members), shown)
        content = archive.extractfile(members[name])
        assert content is not None  # it is a regular file
        folder.mkdir()
        return _copy(content, folder / _plain(name), budget)


def _only_trace(kind: str, names: list[str], shown: Path) -> str:
    """The name of the one trace among the members of an archive."""
    visible = [name for name in names if not name.startswith("__MACOSX/") and PurePosixPath(name).name[:1] != "."]
    traces = [name for name in visible if name.endswith(_TRACES)] or visible
    if len(traces) == 1:
        return traces[0]
    if not traces:
        raise TraceError(f"a {kind} archive without a file in it", TraceErrorCode.NO_EVENTS, shown)
    named = ", ".join(traces[:MAX_NAMED]) + (", …" if len(traces) > MAX_NAMED else "")
    text = f"a {kind} archive of {len(traces)} files ({named}): unpack it, and read one of them or the folder"
    raise TraceError(text, TraceErrorCode.UNSUPPORTED, shown)


def _plain(name: str) -> str:
    """The last part of a member's name, which is safe as the name of a file."""
    return PurePosixPath(name.replace("\\", "/")).name or "content"


def _copy(source: IO[bytes], target: Path, budget: Budget | None) -> Path:
    with target.open("wb") as file:
        while block := source.read(BLOCK):
            if budget is not None:
                budget.unpack(len(block), budget.size)
            file.write(block)
    return target
