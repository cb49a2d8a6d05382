"""How a text file is written: its encoding and its delimiter, each with the evidence."""

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from backfill.pipeline.mistakes import TODO
from backfill.sources.encodings import by_nuls, marked

DELIMITERS = (",", ";", "\t", "|", "^", "\x01")  # the last one is Hive's
_BLOCK_BYTES = 1 << 20
_WIDE_BYTES = 1 << 16
_ASCII_MAX = 0x7F
_HEAD_ROWS = 200
_LINES_ABOVE_MAX = 20
_ONE_COLUMN = "there is one column only"
_HINT = re.compile(r"sep=(.)")
"""What spreadsheets write above a header."""
_FIGURE = re.compile(r"[-+]?\d[\d.,:/ -]*")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
"""What stands in cells, and is no name of a column."""

_WORD = re.compile(rb"[^\s,;|\"]+")
"""A word in some 8-bit encoding; what comes behind its first byte may look like a letter."""
_WORDS_MAX = 50
_WORD_BYTES_MAX = 96
"""What is longer is no word, and would take long to be read in every encoding."""
_SHOWN_CHARS_MAX = 24

SINGLE_BYTE = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8-r"),
    *("iso8859-2", "mac-roman", "cp850", "latin-1"),
)
MULTI_BYTE = ("cp932", "gb18030", "big5", "euc-kr", "euc-jp")
"""The encodings that are held against text which is no UTF-8."""


@dataclass(slots=True)
class TextEvidence:
    """What the bytes of a whole text file say about its encoding.

    Args:
        bom: The codec that a byte-order mark at the beginning names, or the zeros of UTF-16 and
            UTF-32 tell; empty: there is neither.
        lines: How many lines have bytes beyond ASCII.
        utf8: How many of these are valid UTF-8.
        seen: Which bytes stand in the others.
        possible: The multi-byte encodings that all of the others are valid in.
        words: Some words of the others.
    """

    bom: str = ""
    lines: int = 0
    utf8: int = 0
    seen: set[int] = field(default_factory=set)
    possible: list[str] = field(default_factory=lambda: list(MULTI_BYTE))
    words: list[bytes] = field(default_factory=list)

    def add(self, line: bytes) -> None:
        """Take a line with bytes beyond ASCII into account."""
        self.lines += 1
        if _is_valid(line, "utf-8"):
            self.utf8 += 1
            return
        self.seen.update(line)
        self.possible = [each for each in self.possible if _is_valid(line, each)]
        if len(self.words) < _WORDS_MAX:
            some = (each for each in _WORD.findall(line) if len(each) <= _WORD_BYTES_MAX)
            self.words += (each for each in some if not each.isascii())

    @property
    def encodings(self) -> list[str]:
        """The encodings that the lines which are no UTF-8 are valid in, the likeliest first."""
        every = bytes(self.seen)
        known = [each for each in SINGLE_BYTE if _is_valid(every, each)] + self.possible
        return sorted(known, key=lambda each: -_likeness(self.words, each))


def text_evidence(raw: Iterable[bytes]) -> TextEvidence:
    """Look at all bytes of a text file; memory does not depend on its size.

    Args:
        raw: The file in blocks, uncompressed.
    """
    found = TextEvidence()
    blocks = _whole_lines(raw)
    first = next(blocks)
    found.bom = _wide(first[:_WIDE_BYTES])
    if first.startswith(codecs.BOM_UTF8):
        found.bom = "utf-8-sig"
    for block in chain([first.removeprefix(codecs.BOM_UTF8)], blocks):
        # Most files are ASCII but for a few lines: only blocks with other bytes are split.
        for line in () if block.isascii() else block.split(b"\n"):
            if not line.isascii():
                found.add(line)
    return found


def _wide(head: bytes) -> str:
    """The codec of text in units of two or four bytes; empty: it is in bytes, or is no text."""
    if by_mark := marked(head):
        return by_mark[:6]
    codec = by_nuls(head)
    # What is no text at all may be full of zeros too.
    is_text = codec and "\0" not in head[: len(head) // 4 * 4].decode(codec, "replace")
    return codec if is_text else ""


def _whole_lines(raw: Iterable[bytes]) -> Iterator[bytes]:
    """The file in blocks that end with a line; a line longer than a block is cut."""
    rest = b""
    for block in raw:
        lines, end, rest = (rest + block).rpartition(b"\n")
        if end:
            yield lines
        elif len(rest) > _BLOCK_BYTES:
            yield rest
            rest = b""
    yield rest


def _is_valid(text: bytes, codec: str) -> bool:
    try:
        text.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


_JAPANESE = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}


def _likeness(words: Sequence[bytes], codec: str) -> float:
    """How much words look like words in an encoding: letters of one script, each where it belongs.

    Only the order of the candidates hangs on it, nothing is decided by it.
    """
    score = 0.0
    for word in words:
        text = word.decode(codec, "replace")
        letters = [each for each in text if each.isalpha()]
        beyond = [each for each in letters if not each.isascii()]
        if not letters:
            continue
        scripts = {unicodedata.name(each, "?").split()[0] for each in letters}
        # Accented letters are few in a Latin word; a word of another script has no others.
        is_latin = scripts == {"LATIN"}
        is_one = len(scripts) == 1 or scripts <= _JAPANESE
        plausible = 2 * len(beyond) <= len(letters) if is_latin else is_one
        odd_case = any(each.islower() and other.isupper() for each, other in pairwise(text))
        score += len(letters) / len(text) * plausible * (0.5 if odd_case else 1)
    return score / max(len(words), 1)


@dataclass(frozen=True, slots=True)
class Detected:
    """Something that was found out about a file, and why.

    Args:
        value: What was found; TODO where nothing proves it.
        why: What says so.
        choices: What it may be, where nothing proves it.
    """

    value: str
    why: str
    choices: tuple[str, ...] = ()


def encoding_of(evidence: TextEvidence) -> Detected:
    """The encoding of a text file, as far as all of it proves one.

    A file is UTF-8 where most of its lines with letters beyond ASCII are; the others become
    rejected rows. Any other text of 8 bits is valid in several encodings, and in each it says
    something else: which of them makes sense only a reader can tell.
    """
    if evidence.bom.startswith(("utf-16", "utf-32")):
        name = evidence.bom[:6].upper()
        is_marked = evidence.bom == name.lower()
        mark = f"it begins with the byte-order mark of {name}"
        return Detected(evidence.bom, mark if is_marked else f"its zeros are those of {name}")
    if not evidence.lines:
        return Detected("utf-8", "all of it is ASCII")
    share = f"of {evidence.lines:,} lines with letters beyond ASCII"
    if 2 * evidence.utf8 >= evidence.lines:
        return Detected("utf-8", f"{evidence.utf8:,} {share} are valid UTF-8")
    choices = _as_read(evidence)
    why = f"{evidence.lines - evidence.utf8:,} {share} are no UTF-8; their text is, in "
    return Detected(TODO, why + " | ".join(choices), choices)


def _as_read(evidence: TextEvidence) -> tuple[str, ...]:
    """The encodings that it may be, each with a word as it reads in it; one of those that agree."""
    if not evidence.words:
        return tuple(evidence.encodings)
    word = max(evidence.words, key=lambda each: sum(byte > _ASCII_MAX for byte in each))
    read = {each: word.decode(each, "replace")[:_SHOWN_CHARS_MAX] for each in evidence.encodings}
    every: dict[tuple[str, ...], str] = {}
    for codec in evidence.encodings:
        every.setdefault(tuple(each.decode(codec, "replace") for each in evidence.words), codec)
    return tuple(f"{codec}: {read[codec]}" for codec in every.values())


def delimiter_of(head: str, *, usual: str = ",", column: str | None = None) -> Detected:
    """What separates the cells: what gives the most rows as many cells as the header.

    Of several, the one that makes the most cells.

    Args:
        head: The beginning of the text, header first; a last line that is cut does no harm.
        usual: What is taken where nothing separates anything.
        column: A column that the header is known to have; a delimiter must give it.
    """
    best = _best(_lines(head), usual, column)
    if best.cells == 1:
        return Detected(usual, _ONE_COLUMN)
    return Detected(best.delimiter, best.why)


@dataclass(frozen=True, slots=True)
class Table:
    """Where a table begins in a text.

    Args:
        above: How many lines stand above its header.
        delimiter: What separates its cells.
        is_sure: Whether the text is one at all: names in a line, and rows of as many cells.
        nameless: How many columns it has, where the first line is no header but a row; 0: it is.
    """

    above: int
    delimiter: Detected
    is_sure: bool = True
    nameless: int = 0


def table_in(head: str, *, usual: str = ",") -> Table:
    """Where the header of a text is, and what separates its cells.

    Lines above it are believed in where the first one would be a header of one column, and a table
    follows them.

    Args:
        head: The beginning of the text.
        usual: What is taken where nothing separates anything.
    """
    lines = _lines(head)
    if lines and (hint := _HINT.fullmatch(lines[0].strip())):
        return Table(1, Detected(hint[1], "the line above the header says so"))
    first = _best(lines, usual)
    nameless = first.cells if is_a_row(first.names) else 0
    if first.cells > 1:
        return Table(0, Detected(first.delimiter, first.why), first.is_table, nameless)
    for above in range(1, min(len(lines) - 1, _LINES_ABOVE_MAX)):
        below = _best(lines[above:], usual)
        if below.cells > 1 and below.is_table:
            return Table(above, Detected(below.delimiter, below.why))
    return Table(0, Detected(usual, _ONE_COLUMN), is_sure=False, nameless=nameless)


def is_a_row(names: Sequence[str]) -> bool:
    """Whether a header is made of what stands in cells: an address, or mostly figures."""
    figures = [name for name in names if _FIGURE.fullmatch(name)]
    return any(map(_ADDRESS.fullmatch, names)) or 2 * len(figures) > len(names)


@dataclass(frozen=True, slots=True)
class _Split:
    """What a delimiter makes of the first lines.

    Args:
        delimiter: The delimiter.
        names: The cells of the header.
        rows: How many rows have as many cells, the header among them.
        all: How many rows there are.
    """

    delimiter: str
    names: Sequence[str]
    rows: int
    all: int

    @property
    def cells(self) -> int:
        """How many cells the header has."""
        return max(len(self.names), 1)

    @property
    def why(self) -> str:
        """What speaks for it, as a sentence."""
        return f"it separates {self.cells} cells in each of {self.rows} rows at the beginning"

    @property
    def is_table(self) -> bool:
        """Whether that is a table below its header, and nothing else; its last line may be cut."""
        names = [each.strip() for each in self.names]
        are_names = all(names) and len(set(names)) == len(names)
        return (
            are_names
            and not any(_FIGURE.fullmatch(each) or _ADDRESS.fullmatch(each) for each in names)
            and self.rows > 1
            and self.rows >= self.all - 1
        )


def _lines(head: str) -> list[str]:
    return head.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").splitlines(keepends=True)


def _best(lines: Sequence[str], usual: str, column: str | None = None) -> _Split:
    """The delimiter that gives the most rows as many cells as the header, and the most cells."""
    found = [_split(lines, each, column) for each in DELIMITERS]
    return max(found, key=lambda each: (each.rows * (each.cells - 1), each.delimiter == usual))


def _split(lines: Sequence[str], delimiter: str, column: str | None) -> _Split:
    parsed = (row for row in csv.reader(lines, delimiter=delimiter) if row)
    try:
        rows = [row for row, _ in zip(parsed, range(_HEAD_ROWS), strict=False)]
    except csv.Error:
        rows = []
    if not rows or (column is not None and column not in rows[0]):
        return _Split(delimiter, (), 0, len(rows))
    fitting = sum(len(row) == len(rows[0]) for row in rows)
    return _Split(delimiter, rows[0], fitting, len(rows))
