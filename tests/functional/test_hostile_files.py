"""Files that are made to harm: each is refused or its rows are rejected, in little memory and time.

Each command may take 600 MB, and the 90 s that any command of a test gets.
"""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.jobs import CUSTOMERS, job, people
from tests.support.programs import Ended

MEMORY_MAX_KB = 600_000
BOMB_BYTES = 10 << 30
_PIECE_BYTES = 4 << 20


@pytest.fixture
def bounded(start):
    """Look at a job, or run another command on it, within the limits."""

    def ended(pipeline: Path, *more: str, command: str = "check") -> Ended:
        done = start(command, pipeline, *more, cwd=pipeline.parent).ended()
        assert 0 < done.peak_kb < MEMORY_MAX_KB
        assert "Traceback" not in done.stderr
        assert done.next_step
        return done

    return ended


def gzip_of(beginning: bytes, byte: bytes) -> bytes:
    """A gzip file of some bytes and then one byte for ever: the same member again and again."""
    member = gzip.compress(byte * _PIECE_BYTES)
    return gzip.compress(beginning) + member * (BOMB_BYTES // _PIECE_BYTES)


def zst_of(beginning: bytes, byte: bytes) -> bytes:
    """The same as zstd frames."""
    zstd = pa.Codec("zstd")
    frame = zstd.compress(byte * _PIECE_BYTES, asbytes=True)
    return zstd.compress(beginning, asbytes=True) + frame * (BOMB_BYTES // _PIECE_BYTES)


BOMBS = {
    "csv.gz": (gzip_of, people("p1").encode() + b"p2,", b"x"),
    "csv.zst": (zst_of, people("p1").encode() + b'p2,"', b"x"),
    "tsv.gz": (gzip_of, b"id\temail\np1\tx\n", b"\n"),
    "jsonl.zst": (zst_of, b'{"id":"p1"}\n{"id":"', b"x"),
    "json.gz": (gzip_of, b'[{"id":"p1"}', b" "),
}


@pytest.mark.parametrize("suffix", BOMBS)
def test_a_bomb_is_refused(tmp_path, bounded, suffix):
    """Ten gigabytes in some megabytes: 2, long before their end."""
    make, beginning, byte = BOMBS[suffix]
    bomb = make(beginning, byte)
    assert len(bomb) < 20 << 20
    ended = bounded(job(tmp_path, {f"customers.{suffix}": bomb}, CUSTOMERS))
    assert ended.code == 2
    if suffix != "json.gz":  # no value ends so late
        assert "grows to more than 400 times its size" in ended.stderr


DEEP = 100_000
OBJECTS = {
    "deep lists": b'{"id":"p1","a":' + b"[" * DEEP + b"]" * DEEP + b"}\n",
    "deep objects": b'{"id":"p1","a":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}\n",
    "never closed": b'{"id":"p1","a":' + b"[" * DEEP + b"\n",
    "many digits": b'{"id":"p1","a":' + b"9" * 1_000_000 + b"}\n",
    "a long exponent": b'{"id":"p1","a":1e' + b"9" * 1_000_000 + b"}\n",
    "many small numbers": b'{"id":"p1","a":[' + b"1e999999999," * 50_000 + b"1]}\n",
    "many keys inside": json.dumps({"id": "p1", "a": {f"k{n}": n for n in range(50_000)}}).encode()
    + b"\n",
    "one key": b'{"id":"p1",' + b'"a":1,' * 100_000 + b'"b":1}\n',
    "a long key": b'{"id":"p1","' + b"k" * 900_000 + b'":1}\n',
}


@pytest.mark.parametrize("line", OBJECTS.values(), ids=OBJECTS)
def test_an_object_that_is_made_to_harm_is_one_rejected_row(tmp_path, bounded, line):
    """The rows around it are read."""
    around = b'{"id":"before"}\n', b'{"id":"after"}\n'
    pipeline = job(tmp_path, {"customers.jsonl": around[0] + line + around[1]}, CUSTOMERS)
    ended = bounded(pipeline, "--json")
    assert ended.code == 3
    plan = json.loads(ended.stdout)
    assert (plan["rows_read"], plan["rejected"]) == (3, 1)


def test_many_columns_take_time_with_their_number_only(tmp_path, bounded):
    """Each declared, and each asked for in every step of the way."""
    names = [f"c{n}" for n in range(8_000)]
    rows = f"id,{','.join(names)}\n" + "".join(f"p{n}{',x' * len(names)}\n" for n in range(3))
    declared = "[source.columns]\n" + "".join(f'{name} = "string"\n' for name in names[::4])
    ended = bounded(job(tmp_path, {"customers.csv": rows}, CUSTOMERS, declared))
    assert ended.code == 3
    assert "too_many_attributes" in ended.stdout


def _claims_many_rows(path: Path) -> None:
    """Two to the fortieth rows, says the footer; there is one."""
    pq.write_table(pa.table({"id": ["p1"]}), path, compression="none")
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    # A number of rows or values stands as the zigzag varint of 1, behind the field header of an
    # i64 (Thrift's compact protocol).
    made = footer.replace(b"\x16\x02", b"\x16" + _varint(2 << 40))
    assert made != footer
    path.write_bytes(data[: -8 - length] + made + len(made).to_bytes(4, "little") + b"PAR1")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _lists_of_lists(path: Path) -> None:
    """A type of sixty levels, and a list with millions of nothing."""
    type_ = pa.int8()
    for _ in range(60):
        type_ = pa.list_(type_)
    value: object = [None] * 1
    for _ in range(59):
        value = [value]
    wide = pa.array([[None] * 3_000_000, None], pa.list_(pa.int8()))
    table = pa.table({"id": ["p1", "p2"], "deep": pa.array([value, None], type_), "wide": wide})
    pq.write_table(table, path, compression="zstd")


PARQUET = [_claims_many_rows, _lists_of_lists]


@pytest.mark.parametrize("make", PARQUET)
def test_a_parquet_file_that_is_made_to_harm_is_refused(tmp_path, bounded, make):
    """Or its rows are rejected, which are too large to send."""
    make(tmp_path / "customers.parquet")
    ended = bounded(job(tmp_path, {}, CUSTOMERS))
    assert ended.code in (2, 3)


SETTINGS = {
    "deep lists": b"a = " + b"[" * 50_000 + b"]" * 50_000,
    "deep tables": b"a = " + b"{a=" * 20_000 + b"1" + b"}" * 20_000,
    "a long dotted key": b".".join([b"a"] * 20_000) + b" = 1",
    "a long table": b"[" + b".".join([b"a"] * 20_000) + b"]",
    "many keys": b"\n".join(b"a%d = 1" % n for n in range(2_000)),
    "deep in a source": b'[[source]]\nkind = "events"\nwhere = ' + b"{a=" * 90 + b"1" + b"}" * 90,
    "many sources": b'[[source]]\nkind = "customers"\nfiles = ["x.csv"]\n' * 500,
    "many digits": b"rejected_max = " + b"9" * 300_000,
}


@pytest.mark.parametrize("said", SETTINGS.values(), ids=SETTINGS)
def test_a_pipeline_file_that_is_made_to_harm_is_refused(tmp_path, bounded, said):
    """2, in a few lines."""
    pipeline = tmp_path / "pipeline.toml"
    pipeline.write_bytes(b'name = "job"\n' + said + b"\n")
    ended = bounded(pipeline)
    assert ended.code == 2
    assert len(ended.stderr) < 4_000
