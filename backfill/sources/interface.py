"""What a file promises: the same rows again from any position, as chunks, or that it changed."""

import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import xxhash

from backfill.errors import SourceChangedError, UsageError
from backfill.pipeline.source_settings import FormatName
from backfill.rows import START, Chunk, Position, Values

_BLOCK_BYTES = 1 << 20

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

    Of the bytes on disk, compressed or not. It finds changes, not forgeries.
    """

    size: int
    digest: str


def fingerprint(path: Path, size_limit: int | None = None) -> Fingerprint:
    """The fingerprint of a file, or of its first `size_limit` bytes.

    Where the file is shorter than `size_limit`, `size` says so.

    Raises:
        UsageError: It is no regular file, or cannot be read.
    """
    Version.of(path)
    digest = xxhash.xxh3_128()
    size = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_next_bytes(size, size_limit)):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise unreadable(path, error) from error
    return Fingerprint(size, digest.hexdigest())


def _next_bytes(size: int, size_limit: int | None) -> int:
    return _BLOCK_BYTES if size_limit is None else min(_BLOCK_BYTES, size_limit - size)


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of a file is being read, as far as the file system tells without reading it."""

    path: Path
    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "Version":
        """The version on disk now.

        Raises:
            UsageError: There is no such file, or it is no regular file.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(
                f"{path}: is {_kind_of(found.st_mode)}, not a file",
                next_step="name a regular file: it is read more than once, also after a crash",
            )
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def check(self) -> None:
        """Make sure that the file has not changed since.

        Raises:
            SourceChangedError: It has, or it is gone.
        """
        try:
            unchanged = Version.of(self.path) == self
        except UsageError:
            unchanged = False
        if not unchanged:
            raise SourceChangedError(
                f"{self.path}: changed while it was read",
                next_step="wait until nothing writes to it, then run the command again",
            )


def _kind_of(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


def unreadable(path: Path, error: OSError) -> UsageError:
    """The error of the operating system as one of ours."""
    return UsageError(
        f"{path}: cannot be read: {error.strerror or error}",
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
    def path(self) -> Path:
        """The file."""

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


@dataclass(frozen=True, slots=True)
class Dialect:
    """The characters with a meaning in delimited text, an ASCII byte each.

    Args:
        delimiter: What separates the cells.
        quote: What may enclose a cell; empty: nothing does.
        escape: What makes the next byte an ordinary one; empty: nothing does.
    """

    delimiter: bytes = b","
    quote: bytes = b'"'
    escape: bytes = b""
