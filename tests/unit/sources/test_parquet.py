"""Parquet: types as declared, rows from any position, little memory, and clear refusals."""

import datetime as dt
import decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import UsageError
from backfill.rows import Position
from backfill.sources.interface import CHUNK_BYTES_MAX, CHUNK_ROWS_MAX
from tests.support.reading import open_file


def write(tmp_path: Path, table: pa.Table, **options) -> Path:
    """The table as a file."""
    path = tmp_path / "in.parquet"
    pq.write_table(table, path, **options)
    return path


def whole(path: Path, **options) -> pa.Table:
    """All rows, put together."""
    source = open_file(path, **options)
    return pa.Table.from_batches([chunk.batch for chunk in source.chunks()], source.schema())


NOW = dt.datetime(2024, 2, 29, 12, 30, 1, 123456, tzinfo=dt.UTC)


def test_columns_keep_their_types_and_values(tmp_path):
    """Every primitive type, dictionaries, decimals, dates, timestamps, nested values, nulls."""
    arrays = {
        "int8": pa.array([1, None], pa.int8()),
        "uint64": pa.array([2**64 - 1, None], pa.uint64()),
        "float": pa.array([0.1, float("nan")], pa.float32()),
        "bool": pa.array([True, None]),
        "text": pa.array(["é", None]),
        "large": pa.array(["é", None], pa.large_string()),
        "binary": pa.array([b"\xff", None]),
        "dictionary": pa.array(["x", None]).dictionary_encode(),
        "decimal": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(20, 2)),
        "date": pa.array([NOW.date(), None]),
        "naive_ms": pa.array([NOW.replace(tzinfo=None), None], pa.timestamp("ms")),
        "us": pa.array([NOW, None], pa.timestamp("us", "Europe/Berlin")),
        "ns": pa.array([NOW, None], pa.timestamp("ns", "UTC")),
        "list": pa.array([[1, None], None], pa.list_(pa.field("element", pa.int64()))),
        "struct": pa.array([{"a": {"b": 1}}, None]),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "null": pa.nulls(2),
    }
    table = pa.table(arrays)

    found = whole(write(tmp_path, table))

    assert found.schema.equals(table.schema)
    assert str(found.to_pydict()) == str(table.to_pydict())  # NaN is not equal to itself


@pytest.mark.parametrize("year", [1, 1677, 1969, 2262, 9999])
def test_old_timestamps_are_read_right(tmp_path, year):
    """INT96 holds years that nanoseconds do not: they must not wrap round to others."""
    moment = NOW.replace(year=year, day=28, tzinfo=None)
    table = pa.table({"at": pa.array([moment], pa.timestamp("us"))})

    found = whole(write(tmp_path, table, use_deprecated_int96_timestamps=True))

    assert found["at"].to_pylist() == [moment]


@pytest.mark.parametrize("row", [1, 2, 70, 71, 140, 141, 300, 301])
def test_reading_can_begin_at_any_row(tmp_path, row):
    """Inside of a row group, at its edge, and at the end of the file."""
    path = write(tmp_path, pa.table({"n": range(1, 301)}), row_group_size=70)

    chunks = list(open_file(path).chunks(Position(row=row)))

    found = [number for chunk in chunks for number in chunk.batch["n"].to_pylist()]
    assert found == list(range(row, 301))
    assert [number for chunk in chunks for number in chunk.rows.tolist()] == found


def test_the_number_of_rows_is_known_before(tmp_path):
    """It is in the footer, also when there are none."""
    path = write(tmp_path, pa.table({"n": range(300)}), row_group_size=70)
    assert open_file(path).row_count() == 300

    path = write(tmp_path, pa.table({"n": pa.array([], pa.int64())}))
    assert open_file(path).row_count() == 0
    assert list(open_file(path).chunks()) == []


def test_a_name_with_a_dot_is_not_a_path(tmp_path):
    """A column `a.b` and a field `b` in a struct `a` are told apart, each by its own name."""
    path = write(tmp_path, pa.table({"a.b": [1], "a": [{"b": 2}]}))
    source = open_file(path)

    assert [chunk.batch.to_pylist() for chunk in source.chunks(columns=["a"])] == [
        [{"a": {"b": 2}}]
    ]
    assert [chunk.batch.to_pylist() for chunk in source.chunks(columns=["a.b"])] == [[{"a.b": 1}]]


def test_a_huge_row_group_is_read_in_little_memory(tmp_path):
    """Chunks are small whatever the row group, also where a dictionary hides long texts."""
    path = write(tmp_path, pa.table({"text": ["x" * 500_000] * 500}))
    assert path.stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()

    sizes = set()
    for chunk in open_file(path).chunks():
        sizes.add(chunk.batch.num_rows)
        assert pa.total_allocated_bytes() - before < 60_000_000

    assert max(sizes) < 20


def test_many_rows_come_in_chunks_of_one_size(tmp_path):
    """Rows are numbered across chunks, whatever the row groups."""
    path = write(tmp_path, pa.table({"n": np.arange(100_000)}))

    chunks = list(open_file(path).chunks())

    assert {chunk.batch.num_rows for chunk in chunks[:-1]} == {CHUNK_ROWS_MAX}
    assert np.concatenate([chunk.rows for chunk in chunks]).tolist() == list(range(1, 100_001))
    assert chunks[0].lines is None


def test_rows_of_many_columns_come_in_chunks_of_as_many_bytes_as_their_json(tmp_path):
    """Each operation repeats the names: small cells under long names are no small rows."""
    names = [f"a_rather_long_name_of_column_{number}" for number in range(300)]
    table = pa.table([pa.array(range(2_000), pa.int16())] * 300, names)

    chunks = list(open_file(write(tmp_path, table)).chunks())

    row_bytes = sum(len(f'"{name}":0,') for name in names)
    assert all(chunk.batch.num_rows * row_bytes <= CHUNK_BYTES_MAX for chunk in chunks)
    assert pa.Table.from_batches([chunk.batch for chunk in chunks]).equals(table)


def test_a_flipped_bit_in_a_page_is_noticed(tmp_path):
    """Where the file has checksums, damage stops the run at the row; nothing wrong is sent."""
    path = write(
        tmp_path,
        pa.table({"n": np.arange(100_000)}),
        write_page_checksum=True,
        use_dictionary=False,
    )
    content = bytearray(path.read_bytes())
    content[5_000] ^= 1
    path.write_bytes(content)

    with pytest.raises(UsageError, match=r"in\.parquet: cannot be read from row 1 on"):
        whole(path)


def test_a_broken_footer_is_refused(tmp_path):
    """By name, whether it is cut, overwritten or never was one."""
    path = write(tmp_path, pa.table({"n": [1]}))
    content = path.read_bytes()
    for broken in (content[:-60] + b"\0" * 50 + content[-10:], content[:4] + content[-4:]):
        path.write_bytes(broken)
        with pytest.raises(UsageError, match=r"in\.parquet: cannot be read"):
            open_file(path)
    for cut, place in ((content[:-1], "the end"), (b"a,b\n1,2\n", "0"), (b"PAR", "0")):
        path.write_bytes(cut)
        with pytest.raises(UsageError, match=f"not a Parquet file: no PAR1 at byte {place}"):
            open_file(path)


def test_an_encrypted_file_is_refused(tmp_path):
    """It begins with another word than an open one."""
    (tmp_path / "in.parquet").write_bytes(b"PARE" + b"\0" * 50 + b"PARE")

    with pytest.raises(UsageError, match="is encrypted"):
        open_file(tmp_path / "in.parquet")


def test_columns_must_have_names_of_their_own(tmp_path):
    """Two of a name would be one attribute, and one without a name none."""
    one = pa.array([1])
    path = write(tmp_path, pa.Table.from_arrays([one, one], names=["a", "a"]))
    with pytest.raises(UsageError, match="two columns are named a"):
        open_file(path)
    path = write(tmp_path, pa.Table.from_arrays([one, one], names=["a", " "]))
    with pytest.raises(UsageError, match="a column has no name"):
        open_file(path)
    path = write(tmp_path, pa.table({}))
    with pytest.raises(UsageError, match="has no columns"):
        open_file(path)


def test_a_parquet_file_cannot_be_appended_to(tmp_path):
    """Its footer comes last, so that more rows change the bytes before."""
    assert not open_file(write(tmp_path, pa.table({"n": [1]}))).appendable


def test_a_dictionary_of_many_values_is_not_kept_whole(tmp_path):
    """Each chunk has the values of its own rows: all of them in each would be rows times rows."""
    texts = [f"value {number}" for number in range(100_000)]
    path = write(tmp_path, pa.table({"text": pa.array(texts).dictionary_encode()}))

    chunks = list(open_file(path).chunks())

    assert [text for chunk in chunks for text in chunk.batch["text"].to_pylist()] == texts
    assert {chunk.batch.num_rows for chunk in chunks[:-1]} == {CHUNK_ROWS_MAX}
    assert {chunk.batch.schema.field("text").type for chunk in chunks} == {pa.string()}


_VIEWS = pa.array(["a", None, "a text of more than twelve bytes"], pa.string_view())
_ENDS = pa.array([0, 1, 2, 3], pa.int32())


@pytest.mark.parametrize(
    "column",
    [
        _VIEWS,
        _VIEWS.cast(pa.binary_view()),
        pa.json_(pa.string_view()).wrap_array(_VIEWS),
        pa.StructArray.from_arrays([pa.ListArray.from_arrays(_ENDS, _VIEWS)], ["of"]),
        pa.LargeListArray.from_arrays(_ENDS.cast(pa.int64()), _VIEWS),
        pa.FixedSizeListArray.from_arrays(_VIEWS, 1),
        pa.MapArray.from_arrays(_ENDS, pa.array(["a", "b", "c"], pa.string_view()), _VIEWS),
    ],
)
def test_rows_can_be_taken_whatever_their_texts_are_held_in(tmp_path, column):
    """Texts may be views, of which Arrow (26.0) can take none: a rejected row is taken."""
    (chunk,) = open_file(write(tmp_path, pa.table({"of": column}))).chunks()

    some = chunk.only(np.array([False, True, True]))

    assert some.batch["of"].to_pylist() == column.to_pylist()[1:]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.binary(), pa.string_view()])
def test_a_row_of_more_than_a_mebibyte_is_rejected(tmp_path, type_):
    """As in text formats: it is not sent, its beginning is kept, and its neighbours are read."""
    texts = ["a", "x" * (1 << 20), "y" * (1 << 20) + "!", None]
    path = write(tmp_path, pa.table({"n": range(4), "text": pa.array(texts, type_)}))

    chunks = list(open_file(path).chunks())

    rejected = [each for chunk in chunks for each in chunk.rejections]
    assert [(each.row, each.reasons[0].code) for each in rejected] == [(3, "row_too_long")]
    assert rejected[0].raw.startswith('{"n":2,"text":"yyy')
    assert len(rejected[0].raw) == 1 << 16
    assert [row for chunk in chunks for row in chunk.rows.tolist()] == [1, 2, 4]
    assert chunks[-1].end == Position(row=5)


def test_later_rows_may_be_longer_than_the_first_ones(tmp_path):
    """Chunks are bounded by what their rows take, not by what the first rows took."""
    texts = ["a"] * 1_000 + ["x" * 500_000] * 200
    path = write(tmp_path, pa.table({"text": pa.array(texts).dictionary_encode()}))

    chunks = list(open_file(path).chunks())

    assert [text for chunk in chunks for text in chunk.batch["text"].to_pylist()] == texts
    assert max(chunk.batch.num_rows for chunk in chunks[-5:]) < 40


def test_chunks_are_smaller_where_the_reader_holds_much_itself(tmp_path):
    """A page of each column is held beside them: of large row groups more than of small ones."""
    rows = 140_000
    numbers = np.random.default_rng(1).integers(2**62, size=rows)
    table = pa.table({f"column_{place}": numbers for place in range(40)})

    def first_rows(group_rows):
        path = write(tmp_path, table, row_group_size=group_rows, use_dictionary=False)
        return len(next(open_file(path).chunks()).rows)

    assert first_rows(rows) < first_rows(rows // 14) <= CHUNK_ROWS_MAX
