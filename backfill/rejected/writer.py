"""The rejected rows as files: `rejected.csv` to be fixed by people, and its lossless twin.

`rejected.csv` is made for spreadsheets: UTF-8 with BOM, one line a row, no cell that could be
taken for a formula. A row of a bad shape has no cells; its text stands, shortened, in the first
column of its file, to be spread over the columns by hand. `rejected.jsonl` holds every row as it
was read. Both are a view of the journal and can be made again at any time.
"""

import codecs
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.files import write_atomically
from backfill.rejected.safe_cells import shortened_raw, shown_fields
from backfill.rows import Reason, Rejection, Rejections

REJECTED_FILE = "rejected.csv"
TWIN_FILE = "rejected.jsonl"
OWN_COLUMNS = ("_source", "_row", "_line", "_field", "_reason", "_message")
VANISHED = "(vanished)"
"""The `_source` of people who vanished and whom the API did not delete: nothing can be fixed."""

RAW_COLUMN = "_raw"
"""Where the text of bad rows stands if not one row has any columns."""

_BLOCK_BYTES = 1 << 18
_ANY_ROW = 1 << 62
_NO_TEXT = ",null"
_DIGESTS_FILE = ".rejected.sha256"
_ROW_DIGEST_BYTES = 8


class RejectedRow(NamedTuple):
    """A rejection and the file that it comes from.

    Args:
        part: The journal's number of the file.
        source: The file, relative to the pipeline file.
        rejection: The row and its reasons.
    """

    part: int
    source: str
    rejection: Rejection


class RejectedRows(NamedTuple):
    """Rejections of one file.

    Args:
        part: The journal's number of the file.
        source: The file, relative to the pipeline file.
        rejections: The rows and their reasons.
    """

    part: int
    source: str
    rejections: Rejections


def vanished_rows(part: int, rejections: Rejections) -> RejectedRows:
    """People who vanished and whom the API did not delete, out of a file that a sync made."""
    who = (
        replace(each, cells={each.cells["type"]: each.cells["identifier"]}) for each in rejections
    )
    return RejectedRows(part, VANISHED, Rejections.of(who))


def write_rejected(
    folder: Path,
    rows: Callable[[], Iterable[RejectedRows]],
    columns: Mapping[str, Sequence[str]],
    header: Iterable[str],
) -> Path | None:
    """Write the rejected rows of a job; where there are none, remove the files.

    A file that was edited since we wrote it is neither overwritten nor removed: the rows then go
    to `rejected.new.csv`.

    Args:
        folder: The job's directory.
        rows: Gives the rejected rows in order whenever it is called: none has to be held.
        columns: The columns of each file by its name; none where each row has its own.
        header: The columns of all files of the job, in first-seen order.

    Returns:
        The CSV that was written; None if no row is rejected.

    Raises:
        OSError: The disk is full, or the directory cannot be written to.
    """
    written = _Written.load(folder)
    if next(iter(rows()), None) is None:
        written.remove_all()
        (folder / TWIN_FILE).unlink(missing_ok=True)
        return None
    names = dict.fromkeys(header)
    path = written.place()

    def write(file: BinaryIO, bindings: BinaryIO) -> None:
        table = _RejectedTable(names, columns, file, bindings)
        write_atomically(folder / TWIN_FILE, lambda twin: table.write(rows(), twin))
        if table.further:  # rows bring columns that no header has: only now is the head known
            names.update(table.further)
            table = _RejectedTable(names, columns, file, bindings)
            table.write(rows())
        # Noted before the file is in place: a crash in between must not make it the user's.
        written.note(path.name, table.digest.hexdigest())

    # In place after the file: a crash in between leaves lines unsent that would have matched,
    # never the other way round.
    write_atomically(
        bindings_file(path),
        lambda bindings: write_atomically(path, lambda file: write(file, bindings)),
    )
    return path


def bindings_file(path: Path) -> Path:
    """Where it is noted which bytes the lines of a CSV of ours were made of."""
    return path.with_name(f".{path.name}.rows")


def read_bindings(path: Path) -> dict[tuple[str, int], str]:
    """The digest of each row, by source and row, of which a CSV was made; empty: not one of ours.

    A correction is bound to the bytes that it corrects: on another night another row may stand at
    the same place.
    """
    try:
        with bindings_file(path).open("rb") as file:
            return {(source, row): digest for source, row, digest in map(orjson.loads, file)}
    except (OSError, ValueError):
        return {}


def is_bound(bound: str, rejection: Rejection) -> bool:
    """Whether a line was made of this row, be it by an earlier version."""
    cells, raw = dict(rejection.cells), rejection.raw
    return bound == row_digest(cells, raw) or bound == _digest(json.dumps([cells, raw]).encode())


def row_digest(cells: dict[str, Any], raw: str | None) -> str:
    """What a rejected row was made of, without the reasons: those may be said anew."""
    return _digest(orjson.dumps([cells, raw]))


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_ROW_DIGEST_BYTES).hexdigest()


@lru_cache(maxsize=1024)
def _json(value: str | int | None) -> str:
    return orjson.dumps(value).decode()


@lru_cache(maxsize=1024)  # many rows are rejected for the same
def _reasons_json(reasons: tuple[Reason, ...]) -> str:
    return orjson.dumps([each._asdict() for each in reasons]).decode()


_Said = tuple[dict[str, Any], str | None]
"""The cells of a row, and its text where it has none."""


class _RejectedTable:
    """The lines of a CSV, and what each was made of.

    Args:
        names: The columns of all files.
        columns: The columns of each file by its name; none where each row has its own.
        file: Takes the lines, from its beginning.
        bindings: Takes what each was made of.
    """

    def __init__(
        self,
        names: Iterable[str],
        columns: Mapping[str, Sequence[str]],
        file: BinaryIO,
        bindings: BinaryIO,
    ) -> None:
        self.digest = hashlib.sha256()
        self.further: dict[str, None] = {}
        """The columns that rows have besides; with any, the lines are not all there."""
        self._known = {*names}
        # The columns of all files, then those that rows bring with them. One that is named like
        # one of ours is shown in the twin only.
        self._names = [each for each in names if each not in OWN_COLUMNS] or [RAW_COLUMN]
        self._columns = columns
        self._file = file
        self._bindings = bindings
        for each in (file, bindings):
            each.seek(0)
            each.truncate()
        heads = [*shown_fields(self._names), *OWN_COLUMNS]
        self._put(codecs.BOM_UTF8 + f"{','.join(heads)}\r\n".encode())

    def write(self, rows: Iterable[RejectedRows], twin: BinaryIO | None = None) -> None:
        """Write all of them, and the twin beside them: what both need is made once."""
        for block in _blocks(rows):
            tails = [_tails(each.rejections) for each in block]
            if twin is not None:
                twin.writelines(map(_twin_lines, block, tails))
            kept = [each for some in tails for each in _listed(some)]
            # All in one go: a call for each takes twice as long.
            said: list[_Said] = orjson.loads(b"[%b]" % b",".join(kept))
            heads = {tuple(cells) for cells, _ in said}
            if not all(map(self._known.issuperset, heads)):
                found = dict.fromkeys(chain.from_iterable(cells for cells, _ in said))
                self.further.update((each, None) for each in found if each not in self._known)
            if not self.further:
                self._put(self._lines(block, said, heads))
                self._bindings.write(_bindings(block, kept))

    def _lines(
        self, block: Sequence[RejectedRows], said: Sequence[_Said], heads: set[tuple[str, ...]]
    ) -> bytes:
        """The lines of some rows, a column at a time.

        Args:
            block: The rows.
            said: What is known of each.
            heads: The different columns of their cells.
        """
        sources = chain.from_iterable([source] * len(some) for _, source, some in block)
        cells = [
            each if raw is None else self._raw_cells(source, raw)
            for source, (each, raw) in zip(sources, said, strict=True)
        ]
        if any(raw is not None for _, raw in said):
            heads = {*map(tuple, cells)}
        shown = map(shown_fields, _columns(cells, heads, self._names))
        lines = zip(*shown, chain.from_iterable(map(_own_fields, block)), strict=True)
        return "".join(map(",".join, lines)).encode()

    def _raw_cells(self, source: str, raw: str) -> dict[str, str]:
        """A row without cells: its text stands in the first column of its file."""
        first = next(iter(self._columns.get(source) or self._names))
        return {first: shortened_raw(raw)}

    def _put(self, lines: bytes) -> None:
        self.digest.update(lines)
        self._file.write(lines)


def _columns(
    cells: Sequence[dict[str, Any]], heads: set[tuple[str, ...]], names: Sequence[str]
) -> Iterator[Sequence[Any]]:
    """The cells of n rows in the columns of these names, n each; None where a row has none.

    Args:
        cells: The rows, n.
        heads: The different columns that they have.
        names: Those that are wanted.
    """
    if len(heads) > 1:  # objects have keys of their own
        yield from ([each.get(name) for each in cells] for name in names)
        return
    # To look for the cell of each row by its name takes longer than all else.
    together = zip(*(each.values() for each in cells), strict=True)
    columns: dict[str, Sequence[Any]] = dict(zip(*heads, together, strict=True))
    nothing = [None] * len(cells)
    yield from (columns.get(name, nothing) for name in names)


def _blocks(rows: Iterable[RejectedRows]) -> Iterator[list[RejectedRows]]:
    """The same rows, about as many at a time as caches hold."""
    block: list[RejectedRows] = []
    size = 0
    for part, source, some in rows:
        for piece in some.pieces(_BLOCK_BYTES, _ANY_ROW):
            block.append(RejectedRows(part, source, piece))
            size += piece.tails.nbytes
            if size >= _BLOCK_BYTES:
                yield block
                block, size = [], 0
    if block:
        yield block


def _tails(some: Rejections) -> pa.StringArray:
    """The cells of each and its text as JSON, with a comma between, as orjson writes it."""
    if pc.any(pc.starts_with(some.tails, " ")).as_py():
        said = [orjson.dumps([dict(each.cells), each.raw])[1:-1].decode() for each in some]
        return pa.array(said, pa.string())
    return some.tails


def _listed(tails: pa.StringArray) -> list[bytes]:
    """The cells of n rows and the text of each as a JSON array."""
    listed = pc.binary_join_element_wise("[", tails, "]", "").view(pa.binary())
    return cast("list[bytes]", listed.to_numpy(zero_copy_only=False).tolist())


def _twin_lines(rows: RejectedRows, tails: pa.StringArray) -> pa.Buffer:
    """Rejected rows of a file as lines of `rejected.jsonl`, with everything that is known of them.

    Args:
        rows: The n rows.
        tails: What `_tails` gives for them, n.
    """
    part, source, some = rows
    row, line = (pc.cast(pa.array(each), pa.string()) for each in (some.rows, some.lines))
    why = [f',"reasons":{_reasons_json(each)},"cells":' for each in some.ways]
    made = pc.binary_join_element_wise(
        f'{{"source":{_json(source)},"part":{part},"row":',
        row,
        ',"line":',
        pc.if_else(pc.equal(line, "0"), "null", line),
        pa.array(why, pa.string()).take(pa.array(some.way_of)),
        _named(tails),
        "}\n",
        "",
    )
    _, ends, content = made.buffers()
    return content[: int(np.frombuffer(ends, np.int32)[len(made)])]


def _named(tails: pa.StringArray) -> pa.StringArray:
    """The cells of n rows as JSON, and the text of each as the member that follows them."""
    has_text = pc.invert(pc.ends_with(tails, _NO_TEXT))
    cells = pc.binary_slice(tails.view(pa.binary()), 0, -len(_NO_TEXT)).view(pa.string())
    named = pc.binary_join_element_wise(cells, ',"raw":null', "")
    if not pc.any(has_text).as_py():
        return named
    others = map(orjson.loads, _listed(tails.filter(has_text)))
    said = [orjson.dumps({"cells": cells, "raw": raw}).decode() for cells, raw in others]
    return pc.replace_with_mask(named, has_text, [each[len('{"cells":') : -1] for each in said])


def _own_fields(rows: RejectedRows) -> Iterator[str]:
    """Our own columns of rejected rows, as the ends of their lines in `rejected.csv`."""
    start, why = f"{_source_field(rows.source)},", [*map(_reason_fields, rows.rejections.ways)]
    return (
        f"{start}{row},{line or ''},{why[way]}\r\n"
        for row, line, way in zip(*_places(rows.rejections), strict=True)
    )


def _places(some: Rejections) -> tuple[list[int], list[int], list[int]]:
    """The number of each row, its line (0: none), and which of the different reasons it has."""
    return some.rows.tolist(), some.lines.tolist(), some.way_of.tolist()


def _bindings(block: Sequence[RejectedRows], kept: Sequence[bytes]) -> bytes:
    """What the lines of some rows were made of; `row_digest` says the same."""
    places = (
        f"[{start},{row}"
        for start, some in ((_json(each.source), each.rejections) for each in block)
        for row in some.rows.tolist()
    )
    return "".join(
        f'{place},"{digest}"]\n' for place, digest in zip(places, map(_digest, kept), strict=True)
    ).encode()


@lru_cache(maxsize=1024)
def _source_field(source: str) -> str:
    return shown_fields([source])[0]


@lru_cache(maxsize=1024)  # many rows are rejected for the same
def _reason_fields(reasons: tuple[Reason, ...]) -> str:
    # A reason's own semicolons would make it two.
    codes, fields, messages = (
        ";".join(each.replace(";", ",") for each in some) for some in zip(*reasons, strict=True)
    )
    return ",".join(shown_fields([fields, codes, messages]))


@dataclass(slots=True)
class _Written:
    """What we wrote, as `sha256sum` lists it: a file with another digest was edited.

    A file may be listed with two digests: before and after it is replaced, both are ours.
    """

    folder: Path
    digests: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "_Written":
        written = cls(folder)
        with suppress(FileNotFoundError):
            # Damaged, it holds the digest of no file: then all of them count as edited.
            for line in (folder / _DIGESTS_FILE).read_text("utf-8", "replace").splitlines():
                digest, _, name = line.partition("  ")
                written.digests.setdefault(name, set()).add(digest)
        return written

    def place(self) -> Path:
        """Where a CSV can be written without harm to a user's work."""
        return next(
            path for path in self._paths() if not path.exists() or self._digest(path) is not None
        )

    def note(self, name: str, digest: str) -> None:
        """Say that a file is about to get this content."""
        before = self._digest(self.folder / name)
        self.digests[name] = {digest} | ({before} if before else set())
        self._save()

    def remove_all(self) -> None:
        """Remove the files that nobody edited."""
        for name in self.digests:
            path = self.folder / name
            if self._digest(path) is not None:
                path.unlink()
                bindings_file(path).unlink(missing_ok=True)
        (self.folder / _DIGESTS_FILE).unlink(missing_ok=True)

    def _digest(self, path: Path) -> str | None:
        """The digest of a file as we wrote it; None if it is not there or was edited."""
        if not path.is_file():
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest if digest in self.digests.get(path.name, ()) else None

    def _paths(self) -> Iterator[Path]:
        """`rejected.csv`, `rejected.new.csv`, `rejected.new2.csv` and so on."""
        yield self.folder / REJECTED_FILE
        stem, suffix = REJECTED_FILE.split(".")
        number = 1
        while True:
            yield self.folder / f"{stem}.new{number if number > 1 else ''}.{suffix}"
            number += 1

    def _save(self) -> None:
        lines = [
            f"{digest}  {name}\n"
            for name, digests in sorted(self.digests.items())
            for digest in sorted(digests)
        ]
        write_atomically(self.folder / _DIGESTS_FILE, "".join(lines).encode())
