"""What a file promises: the same rows again from any position, as chunks, or that it changed."""

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from backfill.errors import SourceChangedError, UsageError
from backfill.pipeline.file_settings import FormatName
from backfill.rows import START, Chunk, Position, Rows, Values
from backfill.sources.read_ahead import BY_ITS_BEGINNING, ReadingPlan
from backfill.sources.urls import ObjectUrl

Bytes = npt.NDArray[np.uint8]

_BLOCK_BYTES = 1 << 20
_NEUTRAL = ord("x")  # any byte that is neither a quote, a delimiter nor a line end

Kind = Literal["csv", "jsonl", "json", "parquet"]

CHUNK_ROWS_MAX = 32_768

CHUNK_BYTES_MAX = 8_000_000
"""The larger a chunk, the less its threads wait for one another, and the more memory it takes."""

BLOCK_BYTES = 3 << 19
"""How much of a text file is read at once: some 20,000 rows of ordinary width."""

ROW_BYTES_MAX = 1 << 20
"""A row longer than this is rejected."""

OPEN_BYTES_MAX = 16 << 20
"""How far the end of a quoted cell or of a JSON value is looked for: beyond, it has none."""

RAW_BYTES_MAX = 1 << 16
"""How much is kept of the text of a rejected row."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file's content is: its size in bytes and its XXH3-128 as hex.

    Of the bytes as they are stored, compressed or not; of an object a digest of what its store
    calls them. It finds changes, not forgeries.
    """

    size: int
    digest: str


Location = Path | ObjectUrl
"""Where a file is: on this machine, or in a store."""

Piece = TypeVar("Piece")


class StoredFile(Protocol):
    """One version of a file, wherever it lies; its bytes, and nothing of its format.

    An implementation MUST never give bytes of two versions: it raises `SourceChangedError` from
    what `open` gives, or from `guarded`.
    """

    @property
    def path(self) -> Location:
        """Where it is."""

    @property
    def size(self) -> int:
        """Its size in bytes."""

    @property
    def grows(self) -> bool:
        """Whether bytes can be added at its end without a new version of those before."""

    def open(self, plan: ReadingPlan = BY_ITS_BEGINNING) -> Any:
        """A file of Arrow's; `plan` says how it is going to be read.

        Raises:
            UsageError: It cannot be read.
        """

    def guarded(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """What is read of it, as long as it is this version.

        Raises:
            SourceChangedError: It has changed; nothing of the new version was given.
        """

    def fingerprint(self, size_limit: int | None = None) -> Fingerprint:
        """What its content is, or that of its first `size_limit` bytes.

        Where the file is shorter than `size_limit`, `size` says so.

        Raises:
            UsageError: It cannot be read.
        """


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine; which version, as far as the file system tells without reading it."""

    path: Path
    size: int
    modified_ns: int
    inode: int
    grows: bool = True

    @classmethod
    def of(cls, path: Path) -> "LocalFile":
        """The version on disk now.

        Raises:
            UsageError: There is no such file, or it is no regular file.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        if stat.S_ISDIR(found.st_mode):
            raise UsageError(
                f"{path}: is a directory, not a file",
                next_step=f'name the files in it, such as "{path.name}/*.csv"',
            )
        if not stat.S_ISREG(found.st_mode):
            what = "a pipe" if stat.S_ISFIFO(found.st_mode) else "a device or socket"
            raise UsageError(
                f"{path}: is {what}, not a file",
                next_step="name a regular file: it is read more than once, also after a crash",
            )
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def open(self, plan: ReadingPlan = BY_ITS_BEGINNING) -> Any:
        """See `StoredFile.open`; the system reads ahead by itself."""
        del plan
        try:
            return pa.OSFile(os.fsencode(self.path), "rb")
        except OSError as error:
            raise unreadable(self.path, error) from error

    def check(self) -> None:
        """Make sure that the file has not changed since.

        Raises:
            SourceChangedError: It has, or it is gone.
        """
        try:
            unchanged = LocalFile.of(self.path) == self
        except UsageError:
            unchanged = False
        if not unchanged:
            raise SourceChangedError(
                f"{self.path}: changed while it was read",
                next_step="wait until nothing writes to it, then run the command again",
            )

    def guarded(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """See `StoredFile.guarded`: the version is looked at after each piece was read."""
        self.check()
        try:
            for piece in pieces:
                self.check()
                yield piece
        except UsageError:
            self.check()  # what cannot be read may be half of another version
            raise
        self.check()

    def fingerprint(self, size_limit: int | None = None) -> Fingerprint:
        """See `StoredFile.fingerprint`: all of these bytes are read."""
        digest = xxhash.xxh3_128()
        size = 0
        try:
            with self.path.open("rb") as file:
                while block := file.read(_next_bytes(size, size_limit)):
                    digest.update(block)
                    size += len(block)
        except OSError as error:
            raise unreadable(self.path, error) from error
        return Fingerprint(size, digest.hexdigest())


def _next_bytes(size: int, size_limit: int | None) -> int:
    return _BLOCK_BYTES if size_limit is None else min(_BLOCK_BYTES, size_limit - size)


class EmptyFileError(UsageError):
    """A file without a byte of content; among other files it is a part that had no rows."""


def unreadable(path: Location, error: OSError) -> UsageError:
    """The error of the operating system as one of ours."""
    return UsageError(
        f"{path}: cannot be read: {os.strerror(error.errno) if error.errno else error}",
        next_step="check the name and the permissions of the file",
    )


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How a file is written, as far as its name and its first bytes do not tell.

    Args:
        name: The format; None: the suffix tells it.
        encoding: The codec of a text file.
        delimiter: What separates the cells; None: a comma, in a TSV a tab.
        quote: What may enclose a cell; empty: nothing does.
        escape: What makes the next character an ordinary one; empty: nothing does.
        skip_lines: How many lines come before the header.
        header: The names of the columns of a file that has no header; None: it has one.
        trim: Whether spaces around cells and names are dropped.
        last_line: Whether a last line without a line end is a row, or still being written.
    """

    name: FormatName | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    quote: str = '"'
    escape: str = ""
    skip_lines: int = 0
    header: tuple[str, ...] | None = None
    trim: bool = False
    last_line: Literal["send", "wait"] = "send"


class FilePiece(Protocol):
    """Rows of a file that can be read by themselves, also in another process."""

    @property
    def start(self) -> Position:
        """Where it begins."""

    @property
    def end(self) -> Position:
        """Where the next one begins."""

    def chunks(self) -> Iterator[Chunk]:
        """The rows; see `SourceFile.chunks`."""


class SourceFile(Protocol):
    """One file, read as chunks, any number of times and from the end of any chunk.

    An implementation MUST

    - number rows from 1 without a gap: each chunk covers `first_row` up to, not including,
      `end.row`, and begins where the one before ended; a blank line is no row;
    - account for every row of a chunk: it is in `batch` or among the rejections, never both;
    - give the same rows, numbers, lines and rejections whatever `start` is, as long as `start` is
      `START` or the `end` of a chunk, also one of another process;
    - keep text as written: nothing is trimmed unless `FileFormat.trim` says so, and no type is
      inferred;
    - give the same columns in every chunk, in the order of `columns()`, where that is not None;
    - hold one chunk and a few blocks in memory at most, whatever the size of the file;
    - raise `SourceChangedError` rather than give rows of two versions of the file;
    - raise `UsageError` where the file cannot be read on, after giving the rows before that.
    """

    @property
    def stored(self) -> StoredFile:
        """Where its bytes are."""

    @property
    def path(self) -> Location:
        """Where it is."""

    @property
    def kind(self) -> Kind:
        """The format."""

    @property
    def values(self) -> Values:
        """How the cells are written, in every chunk."""

    @property
    def appendable(self) -> bool:
        """Whether rows can be added at its end without a change to the bytes before."""

    @property
    def size_limit(self) -> int | None:
        """How many bytes of it are read; None: all of them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know about how it is read, a sentence each."""

    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns; None where each row has its own (JSON)."""

    def line_of(self, name: str) -> int | None:
        """Which line near its beginning, but the header, has a cell of this name; None: none."""

    def schema(self) -> pa.Schema | None:
        """The types that the file itself declares; None for text."""

    def row_count(self) -> int | None:
        """The number of rows, where it is known without reading them."""

    def chunks(
        self, start: Position = START, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Read on from `start`.

        Args:
            start: `START`, or the `end` of a chunk.
            columns: Only these columns, as far as the file has them; the rows, their numbers and
                the rejections stay the same. A promise of less work, never of other results.

        Raises:
            SourceChangedError: The file is not the one that was opened.
            UsageError: The file is broken from here on.
        """

    def pieces(self, *, small: bool = False) -> Iterator[FilePiece | Chunk]:
        """All rows in pieces that cost less to find than to read; chunks where they cannot be cut.

        Args:
            small: What is made of a piece is about as large as its rows, and held as a whole: none
                has more of them than a few chunks.

        Raises:
            SourceChangedError: The file is not the one that was opened.
            UsageError: The file is broken from here on.
        """


@dataclass(frozen=True, slots=True)
class Dialect:
    """The characters with a meaning in delimited text, an ASCII byte each.

    Args:
        delimiter: What separates the cells.
        quote: What may enclose a cell; empty: nothing does.
        escape: What makes the next byte an ordinary one; empty: nothing does.
        trim: Whether spaces may stand around a quoted cell; they are dropped with those in it.
    """

    delimiter: bytes = b","
    quote: bytes = b'"'
    escape: bytes = b""
    trim: bool = False

    def tightened(self, text: bytes, *, final: bool) -> tuple[bytes, bytes]:
        """A text that begins with a row, its quotes at the ends of their cells; of equal length.

        A quote and the spaces beside it change places: these are in the cell then, and go with the
        others in it. Quoted cells are passed as wholes, so that no text in one is taken for a cell.

        Args:
            text: The text.
            final: Whether nothing follows.

        Returns:
            The text, but for blanks at its end of which only what follows tells what they are; and
            these.
        """
        if not self.trim or not self.quote or self.quote not in text:
            return text, b""
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        space = b" " if self.delimiter == b"\t" else b"[ \t]"
        inside = rb"[^%b]|%b%b" % (quote, quote, quote)
        if self.escape:
            escape = re.escape(self.escape)
            inside = rb"%b(?s:.)|[^%b%b]|%b%b" % (escape, escape, quote, quote, quote)
        # Where the text ends, a cell may be open, or end with the first of two quotes.
        cell = rb"(?<![^%b\r\n])(%b*)%b((?:%b)*+)(?:%b(%b*)(?=[%b\r\n]|\Z)|\Z)" % (
            *(delimiter, space, quote, inside),
            *(quote, space, delimiter),
        )

        def moved(found: re.Match[bytes]) -> bytes:
            begun = self.quote + found[1] + found[2]
            return begun if found[3] is None else begun + found[3] + self.quote

        whole = text if final else text.rstrip(b" \t")
        return re.sub(cell, moved, whole), text[len(whole) :]


def without_escapes(text: Bytes, escape: int) -> Bytes:
    """The text with each escape and the byte behind it made ordinary bytes; of equal length.

    Args:
        text: Bytes of any length.
        escape: The byte that makes the next one ordinary, itself included.
    """
    shown = text.copy()
    at = escapes(text, escape)
    shown[at] = _NEUTRAL
    shown[at[at + 1 < len(text)] + 1] = _NEUTRAL
    return shown


def escapes(text: Bytes, escape: int) -> Rows:
    """Where the escapes stand that are not escaped themselves: every other one of a run."""
    found = np.flatnonzero(text == escape)
    if not len(found):
        return found
    begins = np.concatenate(([True], np.diff(found) > 1))
    first = np.maximum.accumulate(np.where(begins, found, 0))
    alone: Rows = found[(found - first) % 2 == 0]
    return alone
