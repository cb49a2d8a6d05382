"""Files as they come: each oddity by itself, and each damaged in a few ways, always the same.

A file that once broke a reader belongs into the lists below.
"""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DAMAGES = 9
PARQUET_DAMAGES = 7

_GOOD = b"1,Ann,x\r\n2,Bob,y\r\n3,Zo\xc3\xab,z\r\n"
CSV_BODIES = {
    "plain": _GOOD,
    "newlines": _GOOD.replace(b"\r\n", b"\n"),
    "carriage returns": _GOOD.replace(b"\r\n", b"\r"),
    "mixed line ends": b"1,a,b\n2,a,b\r3,a,b\r\n\n\r4,a,b",
    "no last line end": _GOOD.rstrip(),
    "half a last line": _GOOD + b"4,bo",
    "no rows": b"",
    "blank lines": b"\n\n" + _GOOD + b"\r\n\r\n",
    "blanks and tabs": b" 1 ,\t, \n   \n\t\n , , \n",
    "empty cells": b',,\n"",\'\',\n,"",\n',
    "lines in quotes": b'1,"a\nb\r\nc\rd",x\n2,"","""q"""\n',
    "delimiters in quotes": b'"1,1","a,b","\n"\n"2","c",","\n',
    "a quote that never closes": _GOOD + b'4,"a,b\n5,c,d\n6,e,f\n',
    "a quote in the middle": b'1,a"b,c\n2,"a"b,c\n3,a,b"\n',
    "a quote that spills": b'1,"a\n2,b,c\n3,"d",e\n',
    "too few and too many": b"1\n1,2\n1,2,3\n1,2,3,4\n,,,,,,\n",
    "bytes that are no text": b"1,\xff,a\n2,\xc3(,b\n3,\xed\xa0\x80,c\n4,\xf0\x9f\x98\x80,d\n"
    + _GOOD,
    "zero bytes": b'1,\0,a\n2,"\0",b\n' + _GOOD * 4,
    "marks inside": b"\xef\xbb\xbf1,\xef\xbb\xbf,a\n2,b\xef\xbb\xbf,c\n",
    "digits": b"007,1e5,9223372036854775808\n0x1F,1_000,.5\n+1,-0,1.0\n",
    "words for nothing": b"NULL,N/A,nan\nNone,\\N,null\n-,?,#N/A\n",
    "formulas": b"=1+1,@x,+2\n-3,|a,\xef\xbc\x9d1\n",
    "controls": b"\x1b[31m,\x07,\x7f\n\x0b,\x0c,\x1c\n\xc2\x85,\xe2\x80\xa8,\xe2\x80\xa9\n",
    "backslashes": b'\\,\\",a\n\\n,"\\",b\n',
    "a long cell": b"1," + b"x" * 70_000 + b",a\n" + _GOOD,
    "a long quoted cell": b'1,"' + b"x" * 70_000 + b'",a\n' + _GOOD,
    "a row of a megabyte": b"1," + b"x" * 1_100_000 + b",a\n" + _GOOD,
    "many short rows": b"1,2,3\n" * 3_000,
    "many delimiters": b"," * 5_000 + b"\n" + _GOOD,
    "many quotes": b'"' * 5_001 + b"\n" + _GOOD,
}

JSON_LINES = {
    "plain": b'{"a":1,"b":"x"}\n{"a":2}\n{}\n',
    "other line ends": b'{"a":1}\r\n\r\n{"a":2}\n \t\n{"a":3}',
    "half a last line": b'{"a":1}\n{"a":',
    "carriage returns": b'{"a":1}\r{"a":2}\r',
    "numbers": b'{"a":-0,"b":1e400,"c":1.10,"d":12345678901234567890}\n{"a":01}\n{"a":+1E-7}\n',
    "no numbers": b'{"a":NaN}\n{"a":Infinity}\n{"a":-Infinity}\n{"a":"NaN"}\n{"a":.5}\n{"a":1.}\n',
    "keys twice": b'{"a":1,"a":1}\n{"a":{"b":1,"\\u0062":2}}\n{"":1}\n',
    "no objects": b'[1]\n1\n"a"\nnull\ntrue\n{"a":1}\n[{"a":1}]\n',
    "escapes": b'{"a":"\\u0041\\n\\t\\"\\\\\\/"}\n{"a":"\\x41"}\n{"a":"\\ud83d\\ude00"}\n',
    "halves of pairs": b'{"a":"\\ud800"}\n{"a":"\\udc00x"}\n{"\\ud800":1}\n{"a":"\\\\ud800"}\n',
    "zero bytes": b'{"a":"\\u0000"}\n{"a":"\\\\u0000"}\n{"a":"x"}\n{"\\u0000":1}\n' * 3,
    "bytes that are no text": b'{"a":"\xff"}\n{"a":"\xed\xa0\x80"}\n' + b'{"a":"x"}\n' * 9,
    "controls": b'{"a":"\t"}\n{"a":"\x1f"}\n{"a":"\x7f\xc2\x85\xe2\x80\xa8"}\n\x0b\n\x0c{"a":1}\n',
    "deep": b'{"a":' * 63 + b"1" + b"}" * 63 + b"\n" + b'{"a":' * 65 + b"1" + b"}" * 65 + b"\n{}\n",
    "deeper than any stack": b"[" * 5_000 + b"\n" + b'{"a":' * 5_000 + b'\n{"a":1}\n',
    "brackets in text": json.dumps({"a": "[{" * 200}).encode() + b"\n",
    "commas": b'{"a":1,}\n{,}\n{"a":1 "b":2}\n{"a" 1}\n{"a":1}{"b":2}\n{"a":1},\n',
    "comments": b"// no\n/* no */ {}\n# no\n{'a':1}\n{a:1}\n",
    "long text": json.dumps({"a": "x" * 70_000}).encode() + b'\n{"a":1}\n',
    "long digits": b'{"a":' + b"1" * 5_000 + b"}\n" + b'{"a":0.' + b"1" * 500 + b"}\n",
    "a line of a megabyte": b'{"a":"' + b"x" * 1_100_000 + b'"}\n{"a":1}\n',
}

_DAY = datetime(2024, 2, 29, 12, tzinfo=UTC)
PARQUET_COLUMNS: dict[str, pa.Array] = {
    "integers": pa.array([1, None, -(2**63), 2**63 - 1] * 50),
    "unsigned": pa.array([0, 2**64 - 1, None] * 50, pa.uint64()),
    "doubles": pa.array([0.1, float("inf"), float("-inf"), None] * 50),
    "texts": pa.array(["", None, "Zoë", "x" * 100, "a\nb"] * 50),
    "dictionaries": pa.array(["gold", "silver", None] * 50).dictionary_encode(),
    "timestamps": pa.array([_DAY, None] * 50, pa.timestamp("us", "UTC")),
    "nanoseconds": pa.array([1, -1, 2**62, None] * 50, pa.timestamp("ns", "Europe/Berlin")),
    "days": pa.array([0, -719_162, 2_932_896, None] * 50, pa.date32()),
    "decimals": pa.array([Decimal("1.10"), Decimal("-9999999.99"), None] * 50),
    "bytes": pa.array([b"", b"\xff\0", None] * 50),
    "lists": pa.array([[1, None], [], None] * 50),
    "structures": pa.array([{"a": 1, "b": "x"}, None] * 50),
}


def _csv_files() -> Iterator[tuple[str, bytes]]:
    for name, body in CSV_BODIES.items():
        yield name, body
        for damage in range(DAMAGES if len(body) < 10_000 else 1):
            yield f"{name}, damage {damage}", damaged(body, Random(f"{name} {damage}"))


def _json_files() -> Iterator[tuple[str, bytes]]:
    for name, body in JSON_LINES.items():
        yield name, body
        for damage in range(DAMAGES if len(body) < 20_000 else 1):
            yield f"{name}, damage {damage}", damaged(body, Random(f"{name} {damage}"))


def _parquet_files() -> Iterator[tuple[str, bytes]]:
    for name, column in PARQUET_COLUMNS.items():
        file = io.BytesIO()
        table = pa.table({"n": pa.array(range(len(column))), name: column})
        pq.write_table(table, file, row_group_size=60, write_page_checksum=True)
        whole = file.getvalue()
        yield name, whole
        for damage in range(PARQUET_DAMAGES):
            yield f"{name}, damage {damage}", _scratched(whole, Random(f"{name} {damage}"))


def damaged(content: bytes, random: Random) -> bytes:
    """The content after one to three accidents."""
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(content))
        to = min(len(content), at + random.randint(1, 12))
        stray = random.choice(_STRAY)
        content = random.choice(
            [
                content[:at] + content[to:],
                content[:at] + content[at:to] * 2 + content[to:],
                content[:at] + stray + content[at:],
                content[:at] + stray + content[to:],
                content[:at],
                content[:at] + random.randbytes(1) + content[at + 1 :],
            ]
        )
    return content


_STRAY = (
    b'"',
    b'""',
    b",",
    b"\n",
    b"\r",
    b"\r\n",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\xc3",
    b" ",
)


def _scratched(content: bytes, random: Random) -> bytes:
    """A Parquet file that was cut, or some of whose bytes outside the footer have changed."""
    if random.random() < 0.3:
        return content[: random.randrange(len(content))]
    footer = int.from_bytes(content[-8:-4], "little") + 8
    scratched = bytearray(content)
    for _ in range(random.randint(1, 4)):
        scratched[random.randrange(4, len(content) - footer)] ^= 1 << random.randrange(8)
    return bytes(scratched)


CSV = dict(_csv_files())
JSONL = dict(_json_files())
PARQUET = dict(_parquet_files())


def reference_rows(content: bytes) -> list[dict[str, Any]] | None:
    """What pyarrow reads of a Parquet file in one go; None where it cannot."""
    try:
        return pq.read_table(pa.BufferReader(content), page_checksum_verification=True).to_pylist()
    except (pa.ArrowException, OSError):
        return None
