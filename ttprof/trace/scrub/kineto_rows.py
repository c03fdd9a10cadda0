"""Copies one row of a Kineto trace: the fields and arguments that the reader uses, and launch geometry as numbers.

Everything else is left out: the lists here say what stays, so a field that a later profiler adds does not get through.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from ttprof.trace.formats.copies import ITEM_BYTES
from ttprof.trace.formats.kineto_rows import EVENT_KINDS, MARKS, Args
from ttprof.trace.scrub.names import Names
from ttprof.trace.scrub.tally import Tally

Row = dict[str, msgspec.Raw]
"""A decoded row, whose values are still JSON, so that a number is copied digit by digit."""

REMOVED = "removed"
"""The name of an event that ttprof does not read."""

_READ = frozenset(field.encode_name for field in msgspec.structs.fields(Args))
_NUMBERS = _READ | frozenset(
    [
        "Ev Idx",
        "Record function id",
        "cbid",
        "context",
        "queued",
        "grid",
        "block",
        "registers per thread",
        "shared memory",
        "warps per SM",
        "memory bandwidth (GB/s)",
        "Input Dims",
        "Input Strides",
        "Python id",
        "Python parent id",
        "Python module id",
        "Trace iteration",
        "Profiler Event Index",
        "Op count",
        "sort_index",
        "num_warps",
        "num_stages",
        "wait_on_stream",
        "Rank",
        "Process Group Name",
        "Process Group Ranks",
        "Group size",
        "Global rank start",
        "Global rank stride",
        "In msg nelems",
        "Out msg nelems",
        "In split size",
        "Out split size",
        "cid",
        "kind",
        "size",
    ]
)
"""Arguments that stay if they are numbers, or lists of numbers."""

_WORDS = {
    "Collective name": "allreduce allgather _allgather_base allgather_into_tensor_coalesced reduce_scatter send recv "
    "_reduce_scatter_base reduce_scatter_tensor_coalesced broadcast barrier all_to_all all_to_allv gather scatter "
    "reduce",
    "dtype": "byte char short int long half float double bool bfloat16 float8_e4m3fn float8_e5m2 complexfloat",
    "kernel_backend": "triton",
    "finished": "true false",
}
_VOCABULARY = {key: frozenset(words.split()) for key, words in _WORDS.items()}
"""Arguments that stay if they are one of these words, in any case."""

_NUMERIC = re.compile(
    rb'(?:null|true|false|-?\d[-+.\deE]{0,30}|"(?:-?\d{1,20}(?:\.\d{1,20})?|0[xX][0-9a-fA-F]{1,16})?")'
)
"""A number, or a text that is one; a longer text of digits may be a secret."""

_NUMERIC_LIST = re.compile(rb'"?\[[-+\d.eE,\[\]\s]*\]"?')
_TYPE_NAMES = "|".join(map(re.escape, [*ITEM_BYTES, "Scalar", "ScalarList", "TensorList", "GenericList"]))
_TYPES = re.compile(rf'\[\s*(?:"(?:{_TYPE_NAMES})?"[\s,]*)*\]'.encode())
_NUMBER = re.compile(rb"(?:null|-?\d[-+.\deE]{0,40})")
_STREAM = re.compile(r"(?:stream|thread) -?\d+")
_RANK = re.compile(r"\[[A-Za-z]{1,4}\d{1,5}\] -?\d{1,10}")
"""A process id of a file that was merged of several ranks."""

_DEVICE = re.compile(r"CPU|[A-Z]{2,5} \d+")

_KIND_OF = {category: kind.name for kind in EVENT_KINDS for category in kind.categories}
_KEPT_AS = {
    "kernels": "kernels",
    "memcpy": "copies",
    "memset": "copies",
    "runtime": "runtime calls",
    "ops": "operators",
    "annotations": "ranges",
    "device_annotations": "ranges",
    "python": "Python functions",
    "sessions": "profiler sessions",
    "overhead": "profiler overhead",
}
_FLOWS = frozenset(["fwdbwd", "ac2g", "async_cpu_to_gpu", "async"])
_FLOW_NAMES = _FLOWS | {"async_gpu", "launch"}
_OTHER = frozenset(
    [
        "cpu_instant_event",
        "cuda_sync",
        "cuda_event",
        "cuda_profiler_range",
        "collective_comm",
        "gpu_pm_counter",
        "mtia_runtime",
        "mtia_ccp_events",
        "mtia_insight",
        "glow_runtime",
        "hpu_op",
        "hpu_runtime",
        "hpu_stream",
        "cpu_flow",
    ]
)
"""Categories of Kineto that ttprof does not read, whose rows stay without their names."""

_MEMORY = "[memory]"
_TRACKS = frozenset({"", "Spans", "Traces", "PyTorch Profiler"})
_LABELS = ("process_name", "thread_name", "process_labels", "process_sort_index", "thread_sort_index")

_text = msgspec.json.Decoder(str).decode
_args = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class RowScrubber:
    """Copies rows; process and thread ids that are texts become numbered, and stay distinct."""

    def __init__(self, names: Names, tally: Tally) -> None:
        self._names = names
        self._tally = tally
        self._tracks: dict[str, str] = {}
        self._fields: dict[str, Callable[[msgspec.Raw], Any]] = {
            "ph": lambda raw: _matching(raw, re.compile(rb'"[A-Za-z(){}]"')),
            "ts": lambda raw: _matching(raw, _NUMBER),
            "dur": lambda raw: _matching(raw, _NUMBER),
            "id": lambda raw: _matching(raw, _NUMERIC),
            "bp": lambda raw: _matching(raw, re.compile(rb'"e"')),
            "s": lambda raw: _matching(raw, re.compile(rb'"[gpt]"')),
            "pid": self._track,
            "tid": self._track,
        }

    def copy(self, row: Row) -> dict[str, Any]:
        """The row as it is written to the copy."""
        self._tally.rows += 1
        category = _string(row.get("cat"))
        copied: dict[str, Any] = {}
        for key, raw in row.items():
            if key in self._fields:
                value = self._fields[key](raw)
                if value is None:
                    self._tally.removed["field of an event"] += 1
                else:
                    copied[key] = value
            elif key not in ("cat", "name", "args"):
                self._tally.removed["field of an event"] += 1
        if "cat" in row:
            copied["cat"] = self._category(category)
        name = _string(row.get("name")) or ""
        copied["name"] = self._name(category, name, copied)
        if "args" in row:
            copied["args"] = self._arguments(copied, row["args"])
        return copied

    def _category(self, category: str | None) -> str | None:
        if category is None or category.lower() in _KIND_OF or category in _FLOWS or category in _OTHER:
            return category
        self._tally.removed["category that ttprof does not read"] += 1
        return "other"

    def _name(self, category: str | None, name: str, row: dict[str, Any]) -> str:
        kind = _KIND_OF.get((category or "").lower())
        if kind is not None:
            cleaned = self._names.frame(name) if kind == "python" else self._names.clean(name)
            self._tally.keep(_KEPT_AS[kind], cleaned)
            return cleaned
        if name == _MEMORY or (category in _FLOWS and name in _FLOW_NAMES):
            return name
        if category is None and name in _LABELS:
            return name
        if category is None and (mark := next((mark for mark in MARKS if name.startswith(mark)), None)):
            return mark
        self._tally.removed["name of an event that ttprof does not read"] += 1
        return REMOVED

    def _track(self, raw: msgspec.Raw) -> Any:
        """A process or thread id: a number stays, a text becomes a numbered one."""
        if _NUMERIC.fullmatch(bytes(raw)):
            return raw
        text = _string(raw)
        if text is None:
            return None
        if text in _TRACKS or _STREAM.fullmatch(text) or _RANK.fullmatch(text):
            return text
        if text not in self._tracks:
            self._tally.removed["process or thread id that is a text"] += 1
        return self._tracks.setdefault(text, f"track {len(self._tracks) + 1}")

    def _arguments(self, row: dict[str, Any], raw: msgspec.Raw) -> dict[str, Any] | None:
        if bytes(raw) == b"null":
            return None
        try:
            args = _args(raw)
        except msgspec.ValidationError:
            self._tally.removed["argument of an event"] += 1
            return {}
        if row["name"] in _LABELS:
            return self._label(row, args)
        kept = {key: value for key, value in args.items() if _is_kept(key, bytes(value))}
        if dropped := len(args) - len(kept):
            self._tally.removed["argument of an event"] += dropped
        return kept

    def _label(self, row: dict[str, Any], args: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """The arguments of a row that names a process or a thread: its number instead of its command line."""
        kept: dict[str, Any] = {}
        for key, value in args.items():
            if _is_kept(key, bytes(value)):
                kept[key] = value
            elif key in ("name", "labels"):
                text = _string(value) or ""
                plain = _STREAM.match(text) or _DEVICE.fullmatch(text)
                kept[key] = plain[0] if plain else row["name"].removesuffix("_name").removesuffix("_labels")
                self._tally.removed["name of a process or a thread"] += kept[key] != text
            else:
                self._tally.removed["argument of an event"] += 1
        return kept


def _is_kept(key: str, value: bytes) -> bool:
    if key in _VOCABULARY and value[:1] == b'"':
        return value[1:-1].decode(errors="replace").lower() in _VOCABULARY[key]
    if key == "Input type":
        return _TYPES.fullmatch(value) is not None
    return key in _NUMBERS and bool(_NUMERIC.fullmatch(value) or _NUMERIC_LIST.fullmatch(value))


def _matching(raw: msgspec.Raw, pattern: re.Pattern[bytes]) -> msgspec.Raw | None:
    return raw if pattern.fullmatch(bytes(raw)) else None


def _string(raw: msgspec.Raw | None) -> str | None:
    """The text of a JSON string; None for anything else."""
    if raw is None or bytes(raw)[:1] != b'"':
        return None
    return _text(raw)
