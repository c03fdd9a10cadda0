"""Decodes Kineto rows whose fields have other types than they should, so that one of them costs no other row."""

from __future__ import annotations

from typing import Any

import msgspec

from ttprof.trace.events import UNKNOWN
from ttprof.trace.formats.kineto_rows import Args, TextEventRow
from ttprof.trace.formats.lenient_json import Bytes


class _AnyEventRow(msgspec.Struct, gc=False):
    """Any object as a row."""

    ph: Any = ""
    cat: Any = None
    name: Any = ""
    pid: Any = None
    tid: Any = None
    ts: msgspec.Raw = msgspec.Raw()
    dur: msgspec.Raw = msgspec.Raw()
    args: msgspec.Raw = msgspec.Raw()
    id: Any = UNKNOWN


_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any_row = msgspec.json.Decoder(_AnyEventRow).decode
_any_args = msgspec.json.Decoder(Args | None).decode
_NO_TIME = msgspec.Raw(b"null")


def decode_leniently(array: Bytes) -> list[TextEventRow]:
    """The rows of an array some of which are no rows, or have fields of other types; what can't be read has no time.

    Raises:
        msgspec.ValidationError: no element is an object, so that this is no list of events.
    """
    rows, objects = [], 0
    for element in _elements(array):
        try:
            rows.append(_lenient(_any_row(element)))
            objects += 1
        except msgspec.ValidationError:
            rows.append(TextEventRow(ph="", name="(no event)"))
    if not objects:
        raise msgspec.ValidationError("Expected `object` - at `$[0]`")
    return rows


def _lenient(row: _AnyEventRow) -> TextEventRow:
    ts = row.ts
    try:
        args = _any_args(row.args) if len(row.args) else None
    except msgspec.ValidationError:
        args, ts = None, _NO_TIME
    return TextEventRow(
        ph=row.ph if isinstance(row.ph, str) else "",
        cat=row.cat if row.cat is None else str(row.cat),
        name=str(row.name),
        pid=row.pid,
        tid=row.tid,
        ts=ts,
        dur=_number(row.dur),
        args=args,
        id=row.id,
    )


def _number(text: msgspec.Raw) -> Any:
    """The number in a text; None without one, and the text itself if it is none."""
    if len(text) == 0 or bytes(text) == b"null":
        return None
    try:
        return float(bytes(text).strip(b'"'))
    except ValueError:
        return text
