"""Results and baselines made to exhaust or to fool their reader: one error of ttprof, or what can be read."""

from __future__ import annotations

import base64
import json
import os
import zlib
from pathlib import Path

import msgspec
import pytest
import results

from ttprof import baseline, result_file
from ttprof.errors import ResultFileError
from ttprof.system import budget
from ttprof.verdict import Status

READERS = [
    pytest.param(result_file.load, id="load"),
    pytest.param(result_file.load_all, id="load_all"),
    pytest.param(baseline.read, id="baseline"),
    pytest.param(baseline.is_result, id="is_result"),
]


@pytest.mark.parametrize("read", READERS)
def test_a_fifo_is_refused_instead_of_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "result.json")
    with pytest.raises(ResultFileError, match="not a regular file but a FIFO"):
        read(tmp_path / "result.json")


@pytest.mark.parametrize("read", READERS)
def test_a_file_larger_than_any_result(tmp_path, read):
    path = tmp_path / "result.json"
    with path.open("wb") as file:
        file.truncate(budget.WHOLE_BYTES + 1)
    with pytest.raises(ResultFileError, match=f"{budget.WHOLE_BYTES + 1} bytes, more than"):
        read(path)


@pytest.mark.parametrize("read", READERS[:3])
@pytest.mark.parametrize(
    "content",
    [
        "[" * 10**6,
        '{"version":1,"cases":' + "[" * 10**6,
        '{"version":1,"cases":[[]]}',
        '{"version":1,"cases":[{"trials":[{"measurements":[{"name":[],"better":1}]}]}]}',
        '{"version":1e400,"cases":[]}',
        '{"version":NaN}',
        '{"version":2,"version":"x"}',
        '{"ttprof_baseline":' + "9" * 500 + "}",
        '{"ttprof_baseline":1,"name":"\\ud800"}',
    ],
)
def test_malformed_json(tmp_path, read, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ResultFileError, match=r"result\.json"):
        read(tmp_path / "result.json")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_paths_of_traces_that_can_not_be_paths(tmp_path, name):
    trial = results.trial(trace_path=f"traces/gate/{name}")
    suite = results.suite(results.case("ffn", Status.PASS, trial))
    path = tmp_path / result_file.RESULT_FILE
    path.write_bytes(msgspec.json.encode(suite))
    loaded = result_file.load(path).cases[0].trials[0].trace_path
    assert loaded == f"traces/gate/{name}".replace("\0", r"\x00")  # as all texts of a file that is loaded


def stored(tmp_path: Path, samples: bytes, copies: int = 1) -> Path:
    """A baseline with *copies* measurements of these bytes of samples."""
    document = json.loads(msgspec.json.encode(baseline.of(results.SUITES["passing"])))
    row = {**document["trials"][0]["measurements"][0], "samples": base64.b64encode(samples).decode()}
    document["trials"][0]["measurements"] = [{**row, "name": f"{row['name']}{'_' * copy}"} for copy in range(copies)]
    path = tmp_path / "base.json"
    path.write_text(json.dumps(document))
    return path


def test_samples_unpack_to_the_bound_and_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "FREE_SAMPLE_BYTES", 1 << 20)
    monkeypatch.setattr(budget, "RATIO", 0)
    most = zlib.compress(bytes(1 << 20), 9)
    assert len(baseline.read(stored(tmp_path, most)).trials[0].measurements[0].unpacked) == 1 << 17
    for samples, copies in ((zlib.compress(bytes((1 << 20) + 8), 9), 1), (most, 2)):
        with pytest.raises(ResultFileError, match=r"base\.json: .* unpack to more than 1048576 bytes"):
            baseline.read(stored(tmp_path, samples, copies))


@pytest.mark.parametrize("samples", [zlib.compress(bytes(80))[:-5], zlib.compress(bytes(7)), b"x"])
def test_damaged_samples(tmp_path, samples):
    with pytest.raises(ResultFileError, match=r"base\.json: the stored samples of latency_ms are damaged"):
        baseline.read(stored(tmp_path, samples))
