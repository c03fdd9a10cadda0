"""Traces in archives, compressed files and standard input, told by their content."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sys
import tarfile
import zipfile
from pathlib import Path

import kineto_files as k
import nsys_files as n
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system import budget
from ttprof.trace.formats import detect, packed

TEXT = json.dumps({"traceEvents": k.two_iterations()}).encode()


def zipped(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(zipped({"x.pt.trace.json": TEXT}), id="zip"),
        pytest.param(
            zipped({"a/": b"", "__MACOSX/._x.json": b"?", "a/x.json": TEXT, "notes.txt": b"-"}), id="one trace"
        ),
        pytest.param(zipped({"x.json.gz": gzip.compress(TEXT)}), id="gzip in zip"),
        pytest.param(zipped({"../../x.json": TEXT}), id="a path that leads out"),
        pytest.param(tarred({"x.json": TEXT}), id="tar"),
        pytest.param(tarred({"run/x.json": TEXT, "run/log.txt": b"-"}, "w:gz"), id="tar.gz"),
        pytest.param(tarred({"x.json": TEXT}, "w:xz"), id="tar.xz"),
        pytest.param(lzma.compress(TEXT), id="xz"),
        pytest.param(bz2.compress(TEXT), id="bz2"),
        pytest.param(gzip.compress(TEXT), id="gz"),
    ],
)
def test_the_content_tells_how_a_trace_is_packed(tmp_path, content):
    path = tmp_path / "attachment.bin"
    path.write_bytes(content)
    trace = detect.read(path)
    assert trace.kernels.time_ns == 60_000 and trace.path == str(path)


def test_an_export_in_a_zip(tmp_path):
    export = n.write(tmp_path / "t.sqlite", kernel=[n.kernel(0, 5, 1)])
    (tmp_path / "t.zip").write_bytes(zipped({"t.sqlite": export.read_bytes()}))
    trace = detect.read(tmp_path / "t.zip")
    assert (trace.format, trace.kernels.time_ns) == ("nsys", 5)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (
            zipped({"a.json": TEXT, "b.json": TEXT}),
            TraceErrorCode.UNSUPPORTED,
            r"2 files \(a.json, b.json\): unpack it",
        ),
        (zipped({}), TraceErrorCode.NO_EVENTS, "a zip archive without a file in it"),
        (zipped({"x.json": TEXT})[:60], TraceErrorCode.CORRUPT, "damaged or encrypted archive"),
        (lzma.compress(TEXT)[:-20], TraceErrorCode.CORRUPT, "damaged"),
        (bz2.compress(TEXT)[:-20], TraceErrorCode.CORRUPT, "damaged"),
        (zipped({"x.json": b"hello"}), TraceErrorCode.NOT_A_TRACE, "not JSON"),
    ],
)
def test_what_can_not_be_unpacked_is_an_error_of_the_file(tmp_path, content, code, words):
    path = tmp_path / "t.zip"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=words) as caught:
        detect.read(path)
    assert caught.value.code is code and str(caught.value).startswith(str(path))


def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "FREE_BYTES", 1 << 16)
    (tmp_path / "t.zip").write_bytes(zipped({"x.json": b" " * (1 << 24)}))
    with pytest.raises(TraceError, match="more than 128 times as much") as caught:
        detect.read(tmp_path / "t.zip")
    assert caught.value.code is TraceErrorCode.TOO_LARGE


def test_zstd_without_a_package_says_what_to_install(tmp_path, monkeypatch):
    for name in ("compression.zstd", "pyzstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "t.json.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"\0" * 600)
    with pytest.raises(TraceError, match="pip install zstandard") as caught:
        detect.read(tmp_path / "t.json.zst")
    assert caught.value.code is TraceErrorCode.READER_MISSING


def test_zstd_with_a_package(tmp_path, monkeypatch):
    class Package:
        """Stands for zstandard: what it decompresses is stored as xz."""

        class ZstdDecompressor:
            def stream_reader(self, file, read_across_frames):
                assert read_across_frames
                file.read(4)
                return lzma.LZMAFile(file)

    for name in ("compression.zstd", "pyzstd"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "zstandard", Package)
    (tmp_path / "t.json.zst").write_bytes(b"\x28\xb5\x2f\xfd" + lzma.compress(TEXT))
    assert detect.read(tmp_path / "t.json.zst").kernels.time_ns == 60_000


def test_standard_input():
    done = CliRunner().invoke(command, ["-", "--json"], input=gzip.compress(TEXT))
    found = json.loads(done.stdout)
    assert found["kernels"]["time_ns"] == 60_000 and found["source"]["path"] == "-"
    empty = CliRunner().invoke(command, ["-"], input=b"")
    assert "-: the file is empty" in str(empty.exception)


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(packed.tempfile, "tempdir", str(tmp_path / "tmp"))
    Path(tmp_path / "tmp").mkdir()
    (tmp_path / "t.zip").write_bytes(zipped({"x.json": TEXT}))
    detect.read(tmp_path / "t.zip")
    (tmp_path / "bad.zip").write_bytes(zipped({"x.json": b"hello"}))
    with pytest.raises(TraceError):
        detect.read(tmp_path / "bad.zip")
    assert list((tmp_path / "tmp").iterdir()) == []
