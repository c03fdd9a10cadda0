"""Damages a file: flipped bits, truncations, splices, and changes that keep its structure but not its sense."""

from __future__ import annotations

import base64
import gzip
import json
import random
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from typing import Any

MOST_BYTES = 40_000
"""A damaged input grows no further: a fuzzer learns nothing from size, and the bounds have their own tests."""

NUMBERS = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e308", "1e-400", "-0", "-1", "0.1", "16612e3462598743"),
    *("9223372036854775807", "-9223372036854775808", "18446744073709551615", "9" * 400, "1e-999999999999"),
    *("4503599627370496000", "-4503599627370495999", "4503599627370495.999", "1099511627775.999", "00", "1.", "0x10"),
)
TEXTS = (
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\x01"', '"NaN"', '"0x7f"', '"9" ', '""', '"' + "x" * 5000 + '"'),
    *('"١٢"', '"²"', '"ttprof.iteration#99999999999999999999"', '"ProfilerStep#-1"', '"[memory]"', '"nn.Module: _0"'),
    '"' + "9" * 5000 + '"',
)
OTHERS = (
    *("null", "true", "[]", "{}", "[[]]", '{"":{}}', '{"a":1,"a":2}', "[" * 3000 + "]" * 3000, "[" * 2000),
    *('{"a":' * 1500, "[" + "0," * 2000 + "0]", "[" + "{}," * 1000 + "{}]", "", ",", "}", "]", '"', "// x", "'x'"),
)
BROKEN_BYTES = (b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0")
TOKENS = (*(token.encode() for token in (*NUMBERS, *TEXTS, *OTHERS)), *BROKEN_BYTES)

PLAUSIBLE = (0, 1, -1, 2, 7, 64, 1000, 2**31, 2**40 - 1, 2**51, 0.5, 1e-9, 1e15)
"""Numbers that a reader accepts, so that what it computes from them is tried too."""

CELLS: tuple[Any, ...] = (
    *(None, -1, 0, 2**63 - 1, -(2**63), 2**61, -(2**61), 2**32, 1.5, 1e308, float("inf"), "x", "", "9", "9" * 500),
    *(b"blob", b"\0" * 3000, "aten::mm, seq = " + "9" * 30 + ", op_id = 1", "a\0b", "\ud83d\ude00"[:0] + "é" * 50),
)
STATEMENTS = (
    "CREATE VIEW NVTX_EVENTS AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
    "CREATE TRIGGER t AFTER INSERT ON StringIds BEGIN DELETE FROM StringIds; END",
    "ALTER TABLE StringIds ADD COLUMN g AS (hex(zeroblob(100000000)))",
    "ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL ADD COLUMN graphId AS (abs(-9223372036854775808))",
    "CREATE INDEX i ON CUPTI_ACTIVITY_KIND_KERNEL(abs(start))",
    "CREATE UNIQUE INDEX u ON StringIds(id)",
    "DROP TABLE StringIds",
    "DROP TABLE NVTX_EVENTS",
    "ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME COLUMN deviceId TO d",
    "CREATE VIRTUAL TABLE TARGET_INFO_X USING fts5(a)",
    "CREATE TABLE 'a\"b' (x)",
    "UPDATE META_DATA_EXPORT SET value = '" + "9" * 5000 + ".1'",
    "PRAGMA journal_mode = WAL",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 3",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = sql || ' x' WHERE name = 'StringIds'",
)

Mutation = Callable[[bytes, random.Random, list[bytes]], bytes]


def flip(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Flip one to eight bits."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncate(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Keep the beginning."""
    return data[: rng.randrange(len(data) + 1)]


def splice(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Go on with the end of another file."""
    other = rng.choice(seeds)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def move(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Remove a part, and put it at another place once or several times."""
    first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    part, rest = data[first:last], data[:first] + data[last:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + part * rng.randint(0, 3) + rest[at:]


def token(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Put a token that readers stumble over at any place."""
    at, end = rng.randrange(len(data) + 1), rng.choice((0, 0, 1, 4))
    return data[:at] + rng.choice(TOKENS) + data[at + end :]


def number(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Overwrite some bytes with an extreme integer."""
    width = rng.choice((1, 2, 4, 8))
    at = rng.randrange(len(data))
    value = rng.choice((0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), rng.randrange(2 ** (8 * width))))
    return data[:at] + value.to_bytes(width, rng.choice(("big", "little"))) + data[at + width :]


def json_values(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Replace, repeat or remove values of a JSON document; what is not JSON gets a token."""
    head = data[:9] if data[:3] == b"NVR" else b""
    head = data[: data.index(b"[")] if head and b"[" in data else head
    try:
        document = json.loads(data[len(head) :])
    except (ValueError, RecursionError):
        return token(data, rng, seeds)
    places = list(_places(document))
    tokens: dict[bytes, bytes] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not places:
            break
        holder, key = rng.choice(places)
        _change(holder, key, rng, tokens)
    text = json.dumps(document).encode()
    for mark, raw in tokens.items():
        text = text.replace(b'"' + mark + b'"', raw)
    return head + text


def json_lines(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Change one line of JSON, or leave it out, repeat it, or put it elsewhere."""
    rows = data.splitlines(keepends=True)
    row = rng.randrange(len(rows))
    kind = rng.randrange(8)
    if kind == 0:
        return b"".join(rows[:row] + rows[row + 1 :])
    if kind == 1:
        at = rng.randrange(len(rows) + 1)
        return b"".join(rows[:at] + rows[row : row + 1] + rows[at:])
    if kind == 2:
        return b"".join(rows) + rng.choice(rng.choice(seeds).splitlines(keepends=True) or [b""])
    rows[row] = json_values(rows[row].rstrip(b"\n"), rng, seeds) + b"\n"
    return b"".join(rows)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All values within a document, by what holds them and their key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _change(holder: Any, key: Any, rng: random.Random, tokens: dict[bytes, bytes]) -> None:
    kind = rng.randrange(9)
    mark = f"@@{len(tokens)}@@"
    if (isinstance(holder, list) and key >= len(holder)) or (isinstance(holder, dict) and key not in holder):
        return  # an earlier change removed it
    if kind >= 6 and isinstance(holder[key], int | float):
        holder[key] = rng.choice((*PLAUSIBLE, holder[key] + 1, 2 * holder[key]))
    elif kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder += [holder[key]] * rng.choice((1, 3, 50))
    elif kind == 1:
        tokens[mark.encode()] = json.dumps(key).encode()  # the same key twice
        holder[mark] = 1
    elif kind == 2 and isinstance(holder[key], str):
        tokens[mark.encode()] = base64_bomb(rng)
        holder[key] = mark
    else:
        tokens[mark.encode()] = rng.choice(TOKENS)
        holder[key] = mark


def base64_bomb(rng: random.Random) -> bytes:
    """Compressed samples that unpack to much more than they take."""
    packed = zlib.compress(bytes(rng.choice((7, 800, 100_000, 2_000_000))), 9)
    return json.dumps(base64.b64encode(packed).decode()).encode()


def gzip_content(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Damage what was compressed, and compress it again, in one or several members."""
    try:
        content = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return flip(data, rng, seeds)
    change = rng.choice((json_values, json_values, token, flip, truncate, move))
    content = change(content or b"0", rng, [content])
    kind = rng.randrange(8)
    if kind == 0:
        return gzip.compress(b"") * rng.choice((3, 500, 1500)) + gzip.compress(content, 1)
    if kind == 1:
        at = rng.randrange(len(content) + 1)
        return gzip.compress(content[:at], 1) + gzip.compress(content[at:], 1) + b"\0" * rng.randrange(3)
    if kind == 2:
        at = rng.randrange(len(content) + 1)
        filler = rng.choice((b" ", b"[", b"{},", b'"', b"\\", b"}", b"0,", b"9"))
        return gzip.compress(
            content[:at] + filler * (rng.choice((10**4, 10**5, 10**6)) // len(filler)) + content[at:], 1
        )
    return gzip.compress(content, 1)


def sqlite_cells(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Change values and the schema through SQLite; what it can't open gets flipped bits."""
    if not hasattr(sqlite3.Connection, "deserialize"):  # Python 3.10
        return flip(data, rng, seeds)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.deserialize(data)
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(rng.choice((1, 1, 2, 4))):
            if rng.random() < 0.2:
                connection.executescript(rng.choice(STATEMENTS))
                continue
            table = rng.choice(names)
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
            row = rng.choice(("", "", f" WHERE rowid = {rng.randint(1, 4)}"))
            cell = rng.choice(CELLS if rng.random() < 0.4 else PLAUSIBLE[:-3])
            connection.execute(f'UPDATE "{table}" SET "{rng.choice(columns)}" = ?{row}', [cell])
        damaged = connection.serialize()
        return flip(damaged, rng, seeds) if rng.random() < 0.2 else damaged
    except (sqlite3.Error, IndexError, OverflowError, UnicodeError):
        return flip(data, rng, seeds)
    finally:
        connection.close()


BYTES: tuple[Mutation, ...] = (flip, flip, truncate, splice, move, token, number)
STRUCTURED: dict[str, Mutation] = {
    "kineto": json_values,
    "gzip": gzip_content,
    "nsys": sqlite_cells,
    "result": json_values,
    "baseline": json_values,
    "journal": json_lines,
    "ncu": json_values,
}


def mutated(target: str, data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """A damaged copy of *data*: one change or several, half of them by the structure of the format."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        change = STRUCTURED[target] if rng.random() < 0.6 else rng.choice(BYTES)
        data = change(data or b"\0", rng, seeds)
        if len(data) > MOST_BYTES:
            data = data[:MOST_BYTES]
    return data
