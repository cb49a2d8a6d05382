"""Five hundred odd and damaged files: what is accepted is what a strict reader reads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backfill.errors import UsageError
from backfill.rows import Chunk
from tests.support import corpus
from tests.support.reading import open_file
from tests.support.strict import gather, strict, strict_line

SHAPES = {"invalid_utf8", "nul_byte", "invalid_json", "not_an_object", "duplicate_key"}
ROW_MAX = 1_048_576


def test_the_corpus_is_large():
    """And every file of it has a name of its own."""
    assert len(corpus.CSV) + len(corpus.JSONL) + len(corpus.PARQUET) >= 500


def is_text(content: bytes) -> bool:
    """Whether nothing in the bytes makes the file as a whole one that is not UTF-8 text."""
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("name", corpus.CSV)
def test_a_csv_file_is_read_as_by_the_strict_reader(tmp_path, name):
    """The same rows, the same rejections; refused as a whole only where it is no text."""
    body = corpus.CSV[name]
    path = tmp_path / "in.csv"
    path.write_bytes(b"a,b,c\n" + body)
    try:
        read = gather(open_file(path).chunks())
    except UsageError:
        assert not is_text(body)
        return

    expected = strict(body, 3)
    too_long = {row for row, codes in read.reasons.items() if codes == ["row_too_long"]}
    assert {row: cells for row, cells in read.cells.items() if row not in too_long} == {
        row: cells for row, cells in expected.cells.items() if row not in too_long
    }
    for row in too_long:
        assert len(read.raws[row].encode()) <= ROW_MAX < len(body)
    assert {row: each for row, each in read.reasons.items() if row not in too_long} == {
        row: each for row, each in expected.reasons.items() if row not in too_long
    }
    assert read.lines == {row: line + 1 for row, line in expected.lines.items()}


@pytest.mark.parametrize("name", corpus.JSONL)
def test_a_json_lines_file_is_read_as_by_the_strict_reader(tmp_path, name):
    """A line is accepted exactly where the strict reader accepts it, with the same values."""
    content = corpus.JSONL[name]
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    lines = [line for line in content.split(b"\n") if line.strip(b" \t\r")]
    try:
        chunks = list(open_file(path).chunks())
    except UsageError:
        assert not is_text(content) or not lines or lines[0].startswith(b"[")
        return

    assert sum(len(chunk.rows) + len(chunk.rejections) for chunk in chunks) == len(lines)
    accepted = dict(_objects(chunks))
    codes = {each.row: each.reasons[0].code for chunk in chunks for each in chunk.rejections}
    for row, line in enumerate(lines, start=1):
        if len(line) > ROW_MAX:
            assert codes[row] == "row_too_long"
            continue
        expected = strict_line(line.rstrip(b"\r"))
        assert accepted.get(row) == expected
        assert expected is not None or codes[row] in SHAPES


def _objects(chunks: list[Chunk]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The accepted objects by row, their numbers as digits."""
    for chunk in chunks:
        for row, cells in zip(chunk.rows.tolist(), chunk.batch.to_pylist(), strict=True):
            yield (
                row,
                {
                    key: json.loads(cell, parse_int=str, parse_float=str)
                    for key, cell in cells.items()
                    if cell is not None
                },
            )


@pytest.mark.parametrize("name", corpus.PARQUET)
def test_a_parquet_file_is_read_as_by_the_reference(tmp_path, name):
    """All of its rows, or the rows before the damage and then a refusal that names the file."""
    path = tmp_path / "in.parquet"
    path.write_bytes(corpus.PARQUET[name])
    expected = corpus.reference_rows(corpus.PARQUET[name])

    rows, refused = _typed_rows(path)

    if expected is None:
        assert "in.parquet" in refused
    else:
        assert (rows, refused) == (expected, "")


def _typed_rows(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows that could be read, and the refusal that ended it."""
    rows: list[dict[str, Any]] = []
    try:
        for chunk in open_file(path).chunks():
            assert not chunk.rejections
            rows += chunk.batch.to_pylist()
    except UsageError as error:
        return rows, error.what
    return rows, ""
