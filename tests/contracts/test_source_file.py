"""What `SourceFile` promises, held by every format, plain and compressed, in every encoding."""

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.cluster.parcels import frames, value_of
from backfill.errors import SourceChangedError, UsageError
from backfill.rows import START, Chunk
from backfill.sources import SourceFile, delimited, parquet
from tests.support.reading import open_file

ROWS = 300


def write_csv(path: Path, encoding: str = "utf-8", delimiter: str = ",") -> None:
    """Three hundred rows: multi-line cells, blank lines, and every tenth row of a bad shape."""
    lines = [delimiter.join(["id", "note", "empty", "day"])]
    for row in range(ROWS):
        note = '"2 lines: é""\nü"' if row % 3 else "plain"
        cells = [f"id-{row}", note, '""', ""]
        if row % 10 == 9:
            cells = [f"id-{row}", 'a"b']
        lines.append(delimiter.join(cells) + ("\n" if row % 7 == 0 else ""))
    path.write_bytes(_compressed(path, "\n".join(lines).encode(encoding)))


def write_jsonl(path: Path, encoding: str = "utf-8") -> None:
    """Three hundred rows with keys that come and go, and every tenth row of a bad shape."""
    lines = [
        json.dumps({"id": f"id-{row}", f"k{row // 50}": "é", "day": None}) for row in range(ROWS)
    ]
    lines[9::10] = ["[1]"] * len(lines[9::10])
    lines[5] += "\n"
    path.write_bytes(_compressed(path, "\n".join(lines).encode(encoding)))


def write_parquet(path: Path) -> None:
    """Three hundred rows in row groups of seventy."""
    table = pa.table({"id": [f"id-{row}" for row in range(ROWS)], "amount": list(range(ROWS))})
    pq.write_table(table, path, row_group_size=70)


def _compressed(path: Path, content: bytes) -> bytes:
    if path.suffix == ".gz":
        half = len(content) // 2
        return gzip.compress(content[:half]) + gzip.compress(content[half:])
    return pa.compress(content, "zstd", asbytes=True) if path.suffix == ".zst" else content


CASES = {
    "csv": ("in.csv", write_csv, {}),
    "semicolons in cp1252": (
        "in.csv",
        lambda path: write_csv(path, "cp1252", ";"),
        {"encoding": "cp1252", "delimiter": ";"},
    ),
    "utf-16": ("in.csv", lambda path: write_csv(path, "utf-16"), {"encoding": "utf-16"}),
    "tsv": ("in.tsv", lambda path: write_csv(path, delimiter="\t"), {}),
    "csv.gz": ("in.csv.gz", write_csv, {}),
    "csv.zst": ("in.csv.zst", write_csv, {}),
    "jsonl": ("in.jsonl", write_jsonl, {}),
    "jsonl.gz": ("in.jsonl.gz", write_jsonl, {}),
    "ndjson.zst": ("in.ndjson.zst", write_jsonl, {}),
    "jsonl in utf-16": (
        "in.jsonl",
        lambda path: write_jsonl(path, "utf-16"),
        {"encoding": "utf-16"},
    ),
    "parquet": ("in.parquet", write_parquet, {}),
}


@pytest.fixture(params=CASES)
def reopen(request, tmp_path) -> Callable[..., SourceFile]:
    """Open a file of each format, with a column from its folder, as often as wanted."""
    name, write, options = CASES[request.param]
    write(tmp_path / name)
    return partial(open_file, tmp_path / name, partitions={"shop": "north"}, **options)


@pytest.fixture
def source(reopen) -> SourceFile:
    """The file, read in blocks so small that there are many chunks."""
    return reopen(block_bytes=500)


def rows_of(chunks) -> list[tuple]:
    """All rows: number, line, and cells or reasons."""
    rows = []
    for chunk in chunks:
        lines = chunk.rows if chunk.lines is None else chunk.lines
        rows += zip(chunk.rows.tolist(), lines.tolist(), chunk.batch.to_pylist(), strict=True)
        rows += [(each.row, each.line, (each.reasons, each.raw)) for each in chunk.rejections]
    return [
        (row, line, _present(cells) if isinstance(cells, dict) else cells)
        for row, line, cells in sorted(rows, key=lambda each: each[0])
    ]


def _present(cells: dict) -> dict:
    """The cells that are not null: JSON Lines has the columns of each chunk only."""
    return {name: value for name, value in cells.items() if value is not None}


def test_every_row_is_numbered_and_accounted_for(source):
    """Chunks follow each other, and each row is in a batch or rejected, never both."""
    next_row = 1
    for chunk in source.chunks():
        assert chunk.first_row == next_row
        rejected = [each.row for each in chunk.rejections]
        found = sorted([*chunk.rows.tolist(), *rejected])
        assert found == list(range(chunk.first_row, chunk.end.row))
        assert chunk.batch.num_rows == len(chunk.rows)
        assert (np.diff(chunk.rows) > 0).all()
        assert chunk.lines is None or len(chunk.lines) == len(chunk.rows)
        assert chunk.values == source.values
        next_row = chunk.end.row

    assert next_row == ROWS + 1
    assert source.row_count() in {None, ROWS}


def test_reading_goes_on_from_the_end_of_every_chunk(source, reopen):
    """The rows after any chunk are the same, read on or read anew by another source."""
    rows = rows_of(source.chunks())
    for chunk in source.chunks():
        rest = rows_of(reopen().chunks(chunk.end))
        assert rest == [each for each in rows if each[0] >= chunk.end.row]


def test_rows_do_not_depend_on_the_size_of_blocks(source, reopen):
    """Small blocks and one large block give the same rows."""
    assert rows_of(source.chunks()) == rows_of(reopen().chunks())


def _sent_in_pieces(source, monkeypatch, *, small=False) -> list:
    """All pieces of a file, and the chunks of each as another process would read them."""
    monkeypatch.setattr(delimited, "_PIECE_ROWS", 40)
    monkeypatch.setattr(delimited, "_SMALL_BYTES", 1)
    monkeypatch.setattr(parquet, "_PIECE_ROWS_MIN", 71)
    pieces = [value_of(b"".join(frames(each))) for each in source.pieces(small=small)]
    # Each by itself, so from the last to the first as well.
    read = [[each] if isinstance(each, Chunk) else [*each.chunks()] for each in pieces[::-1]]
    return list(zip(pieces, read[::-1], strict=True))


@pytest.mark.parametrize("small", [False, True])
def test_pieces_are_the_same_rows_wherever_each_is_read(source, monkeypatch, small):
    """In text they make the same chunks, too; small ones hold a few of them."""
    sent = _sent_in_pieces(source, monkeypatch, small=small)
    assert not small or max(len(chunks) for _, chunks in sent) <= 2
    assert all(chunks[-1].end == piece.end for piece, chunks in sent)
    chunks, whole = [each for _, some in sent for each in some], list(source.chunks())
    assert rows_of(chunks) == rows_of(whole)
    if source.kind != "parquet":
        assert [each.end for each in chunks] == [each.end for each in whole]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_text_is_cut_at_any_row(tmp_path, monkeypatch, end, encoding):
    """Cells of several lines, blank lines, and a last row without a line end among them."""
    lines = [f'{row},"two{end}lines; {row}"{end * (row % 3 == 0)}' for row in range(ROWS)]
    path = tmp_path / "in.csv"
    path.write_bytes(end.join(["id,note", *lines]).rstrip().encode(encoding))
    source = open_file(path, encoding=encoding, block_bytes=500)
    sent = _sent_in_pieces(source, monkeypatch)
    assert sum(not isinstance(piece, Chunk) for piece, _ in sent) > 5
    chunks, whole = [each for _, some in sent for each in some], list(source.chunks())
    assert rows_of(chunks) == rows_of(whole)
    assert [each.end for each in chunks] == [each.end for each in whole]


def test_columns_are_the_same_in_every_chunk(source):
    """The batch has the columns that the source names, the folder's own at the end."""
    if source.columns() is None:
        assert source.kind == "jsonl"
        return
    assert source.columns()[-1] == "shop"
    for chunk in source.chunks():
        assert tuple(chunk.batch.schema.names) == source.columns()
        assert source.schema() is None or chunk.batch.schema.equals(source.schema())


@pytest.mark.parametrize("columns", [["id"], ["shop"], ["shop", "id", "absent"], []])
def test_fewer_columns_change_no_row(source, columns):
    """A projection changes neither rows nor lines nor rejections, only the cells."""
    expected = [
        (row, line, {name: cells[name] for name in columns if name in cells})
        if isinstance(cells, dict)
        else (row, line, cells)
        for row, line, cells in rows_of(source.chunks())
    ]

    projected = list(source.chunks(START, columns))

    assert rows_of(projected) == expected
    assert all(chunk.batch.num_rows == len(chunk.rows) for chunk in projected)


def test_a_folder_can_name_a_column(source):
    """Each row has the column of its folder, written as the format writes text."""
    value = '"north"' if source.values == "json" else "north"

    cells = [cells for _, _, cells in rows_of(source.chunks()) if isinstance(cells, dict)]

    assert {each["shop"] for each in cells} == {value}


def test_a_source_that_grows_while_it_is_read_stops_the_run(source):
    """No rows of two versions: the change is seen at the next chunk at the latest."""
    chunks = source.chunks()
    next(chunks)
    with source.path.open("ab") as file:
        file.write(b"more")

    with pytest.raises(SourceChangedError, match=source.path.name):
        list(chunks)


def test_a_source_that_was_replaced_stops_the_run(source):
    """A file of the same content under the name is another one."""
    content = source.path.read_bytes()
    source.path.unlink()
    source.path.with_name("other").write_bytes(content)
    source.path.with_name("other").rename(source.path)

    with pytest.raises(SourceChangedError, match="changed while it was read"):
        list(source.chunks())


@pytest.mark.parametrize("case", CASES)
def test_an_empty_file_is_refused(tmp_path, case):
    """Nothing at all is no source, whatever its name."""
    name, _, options = CASES[case]
    (tmp_path / name).write_bytes(b"")

    with pytest.raises(UsageError, match="empty"):
        open_file(tmp_path / name, **options)


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_file_is_refused(tmp_path, case):
    """A folder or an absent file is refused by name, before anything is read."""
    name, _, options = CASES[case]
    with pytest.raises(UsageError, match="No such file"):
        open_file(tmp_path / name, **options)
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        open_file(tmp_path / name, **options)


@pytest.mark.parametrize("case", ["csv.gz", "csv.zst", "jsonl.gz", "ndjson.zst", "parquet"])
def test_a_file_that_was_cut_off_gives_the_rows_before(tmp_path, case):
    """What can be read is given, then the run stops with the name of the file."""
    name, write, options = CASES[case]
    path = tmp_path / name
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[:-9])

    read = []
    with pytest.raises(UsageError, match=name):
        read.extend(open_file(path, block_bytes=500, **options).chunks())

    if name.endswith(".gz"):
        assert rows_of(read)
