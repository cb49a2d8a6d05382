"""Lines of JSON objects taken apart all at once: where the keys and the values of each stand.

Most lines are what programs write: an object, its members behind one another, at most one blank
between. Those are taken apart with array operations. Any other line is left to `json_objects`,
which is the judge of what a line means: what is found here is what it would find.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.rows import Rows
from backfill.sources.interface import ROW_BYTES_MAX, escapes
from backfill.sources.json_objects import DEPTH_MAX, number

Flags = npt.NDArray[np.bool_]

_QUOTE, _BACKSLASH, _LF, _CR, _BLANK = b'"\\\n\r '
_OPEN = b"{"[0]
_MARKS = bytes(byte < _BLANK or byte in b'"{}[]:,' for byte in range(256))
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"{[")] = 1
_STEPS[list(b"}]")] = -1
_ENDS, _OPENS, _COLONS, _COMMAS, _CLOSES, _OTHER = range(6)
_CODES = np.full(256, _OTHER, np.int8)
_CODES[list(b"\n{:,}")] = range(_OTHER)
_FOLLOWS = np.zeros((_OTHER + 1, _OTHER + 1), np.bool_)
"""What may stand behind what, of line ends and of what stands directly in the object of a line."""
for _before, _behind in (
    (_ENDS, [_ENDS, _OPENS]),
    (_OPENS, [_COLONS, _CLOSES]),
    (_COLONS, [_COMMAS, _CLOSES]),
    (_COMMAS, [_COLONS]),
    (_CLOSES, [_ENDS]),
):
    _FOLLOWS[_before, _behind] = True
_QUOTES_OF_A_STRING = 2
_ASCII_MAX = 127
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_WRITTEN_ANEW = r"[eE]|^.{16}"
"""Numbers of which not each keeps its digits, as far as it can be told at a glance."""
_MANY_DIGITS = re.compile(r"[0-9]{19}").search
"""More than any integer of 64 bits is sure to hold."""


@dataclass(frozen=True, slots=True)
class JsonLines:
    """The lines of a text, and the members of those that are ordinary.

    Args:
        ends: int64 (n,), where each line ends: the place of its line feed.
        odd: bool (n,), the lines that are not taken apart.
        blank: bool (n,), those that hold nothing; none is odd.
        line_of: int32 (m,), the line of each member, ascending.
        key_of: int32 (m,), which key it has.
        keys: The keys, in the order in which they come first.
        values: string, the JSON of values, and of what lies between.
        at: int32 (m,), the place of each member's value among them.
    """

    ends: Rows
    odd: Flags
    blank: Flags
    line_of: npt.NDArray[np.int32]
    key_of: npt.NDArray[np.int32]
    keys: list[str]
    values: pa.StringArray
    at: npt.NDArray[np.int32]


@dataclass(slots=True)
class _Members:
    """Members while they are looked at; each field of length m, those of odd lines left out.

    Args:
        line: The line.
        key: Where the text of the key begins, and where it ends.
        value: Where the value begins, and where it ends.
        quotes: How many quotes the value has.
    """

    line: npt.NDArray[np.int32]
    key: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
    value: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]

    def only(self, kept: Flags) -> "_Members":
        """Some of them."""
        if kept.all():
            return self
        return _Members(
            self.line[kept],
            (self.key[0][kept], self.key[1][kept]),
            (self.value[0][kept], self.value[1][kept]),
        )


def take_apart(text: bytes) -> JsonLines:
    """Take lines apart.

    Args:
        text: UTF-8 as far as it is valid; whole lines, each with a line feed.
    """
    return _Scan(text).lines()


class _Scan:
    """One look at some lines."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.bytes = np.frombuffer(text, np.uint8)
        marks = np.flatnonzero(np.frombuffer(text.translate(_MARKS), np.bool_))
        # Half of the memory, which is what most steps wait for; a text is far below 2 GB.
        self.marks = marks.astype(np.int32)
        self.kinds = self.bytes[marks]
        self.ends = marks[self.kinds == _LF]
        self.odd = np.diff(self.ends, prepend=-1) > ROW_BYTES_MAX + 1

    def lines(self) -> JsonLines:
        """All that is found."""
        members, blank = self._members()
        self._refuse_escapes()
        members = members.only(~self.odd[members.line])
        key_of, keys = self._keys(members)
        kept = ~self.odd[members.line]
        members, key_of = members.only(kept), key_of[kept]
        values, at = self._values(members)
        kept = ~self.odd[members.line]
        return JsonLines(
            self.ends,
            self.odd,
            blank & ~self.odd,
            members.line[kept],
            key_of[kept],
            keys,
            values,
            at[kept],
        )

    def _line_at(self, places: npt.NDArray[np.integer]) -> Rows:
        """The lines in which some bytes stand."""
        found: Rows = np.searchsorted(self.ends, places)
        return found

    def _members(self) -> tuple[_Members, Flags]:
        """What stands directly in the object of each line, and which lines are blank."""
        marks, kinds = self.marks, self.kinds
        quote = kinds == _QUOTE
        if b"\\" in self.text:
            escaped = np.zeros(len(self.bytes) + 1, np.bool_)
            escaped[escapes(self.bytes, _BACKSLASH) + 1] = True
            quote &= ~escaped[marks]
        ending = kinds == _LF
        ends = np.flatnonzero(ending)
        quotes = np.cumsum(quote, dtype=np.int32)
        inside = self._inside(quotes, ends)
        self._refuse_controls(kinds, marks, ending)
        outside = np.flatnonzero(~(inside | quote | (kinds < _BLANK)) | ending)
        depth = self._depth(kinds[outside], ending[outside])
        steps = _STEPS[kinds[outside]]
        direct = np.where(steps == 0, depth == 1, depth == (steps > 0)) | ending[outside]
        outside = outside[direct]
        return self._checked(marks[quote], marks[outside], kinds[outside], quotes[outside])

    def _inside(self, quotes: npt.NDArray[np.int32], ends: Rows) -> Flags:
        """Which marks stand in strings; a line whose last string does not end is odd."""
        at_ends = quotes[ends]
        per_line = np.diff(at_ends, prepend=0)
        unclosed = (per_line & 1).astype(np.bool_)
        if not unclosed.any():
            return (quotes & 1).astype(np.bool_)
        self.odd |= unclosed
        before = np.repeat(at_ends - per_line, np.diff(ends, prepend=-1))
        return ((quotes - before) & 1).astype(np.bool_)

    def _refuse_controls(
        self, kinds: npt.NDArray[np.uint8], marks: npt.NDArray[np.int32], ending: Flags
    ) -> None:
        """A line with any control character is odd, but for a CR at its end."""
        control = (kinds < _BLANK) & ~ending
        if control.any():
            places = marks[control]
            returns = (kinds[control] == _CR) & (self.bytes[places + 1] == _LF)
            self.odd[self._line_at(places[~returns])] = True

    def _depth(self, kinds: npt.NDArray[np.uint8], ending: Flags) -> npt.NDArray[np.int32]:
        """How deep each bracket, comma or colon stands in its line, itself included."""
        depth = np.cumsum(_STEPS[kinds], dtype=np.int32)
        ends = np.flatnonzero(ending)
        at_ends = depth[ends]
        if at_ends.any():
            per_line = np.diff(at_ends, prepend=0)
            self.odd |= per_line != 0
            depth -= np.repeat(at_ends - per_line, np.diff(ends, prepend=-1))
        if len(depth) and depth.max() > DEPTH_MAX:
            deep = np.maximum.reduceat(depth, np.append(0, ends[:-1] + 1))
            self.odd |= deep > DEPTH_MAX
        return depth

    def _checked(
        self,
        quotes: npt.NDArray[np.int32],
        marks: npt.NDArray[np.int32],
        kinds: npt.NDArray[np.uint8],
        before: npt.NDArray[np.int32],
    ) -> tuple[_Members, Flags]:
        """The members of the lines, where marks follow one another as they should.

        Args:
            quotes: The places of all quotes.
            marks: The places of line ends and of what stands directly in an object.
            kinds: The bytes there.
            before: How many quotes stand before each.
        """
        codes = _CODES[kinds]
        line = np.cumsum(codes == _ENDS, dtype=np.int32) - (codes == _ENDS)
        behind = np.append(_ENDS, codes[:-1])
        follows = _FOLLOWS[behind, codes]
        gap = np.diff(marks, prepend=-1)
        # Behind a line end, and between the brackets of an empty object, there is nothing else.
        alone = (codes == _ENDS) | (codes == _OPENS) | ((codes == _CLOSES) & (behind == _OPENS))
        carriage = (codes == _ENDS) & (gap == len(b"\r\n")) & (self.bytes[marks - 1] == _CR)
        follows &= ~alone | (gap == 1) | carriage
        self.odd[line[~follows]] = True
        blank = np.zeros(len(self.ends), np.bool_)
        blank[line[(codes == _ENDS) & (behind == _ENDS)]] = True
        colons = np.flatnonzero((codes == _COLONS) & ~self.odd[line])
        line = line[colons]
        opening, colon, end = marks[colons - 1], marks[colons], marks[colons + 1]
        count = before[colons] - before[colons - 1]
        # Where too few quotes follow, `count` makes the line odd; until then any place will do.
        first = np.minimum(before[colons - 1], max(len(quotes) - 2, 0))
        key = (quotes[first] + 1, quotes[first + 1]) if len(quotes) > 1 else (opening, opening)
        spaced = (key[0] == opening + 3) & (self.bytes[opening + 1] == _BLANK)
        good = (count == _QUOTES_OF_A_STRING) & (key[1] + 1 == colon)
        good &= (key[0] == opening + 2) | spaced
        begin = colon + 1 + (self.bytes[colon + 1] == _BLANK)
        good &= (begin < end) & (self.bytes[begin] != _BLANK) & (self.bytes[end - 1] != _BLANK)
        good &= self._strings(begin, end, before[colons], before[colons + 1], quotes)
        self.odd[line[~good]] = True
        return _Members(line, key, (begin, end)), blank

    def _strings(
        self,
        begin: npt.NDArray[np.int32],
        end: npt.NDArray[np.int32],
        before: npt.NDArray[np.int32],
        after: npt.NDArray[np.int32],
        quotes: npt.NDArray[np.int32],
    ) -> Flags:
        """Which values are a string and no more, something nested, or hold no quote."""
        if not len(quotes):
            return np.ones(len(begin), np.bool_)
        byte = self.bytes[begin]
        first = quotes[np.minimum(before, len(quotes) - 1)]
        last = quotes[np.maximum(after - 1, 0)]
        string = (after - before == _QUOTES_OF_A_STRING) & (first == begin) & (last + 1 == end)
        nested = (byte == _OPEN) | (byte == ord("["))
        found: Flags = np.where(byte == _QUOTE, string, nested | (after == before))
        return found

    def _refuse_escapes(self) -> None:
        """Lines with an escaped NUL are odd, and all beyond ASCII where not all is UTF-8."""
        # An escaped NUL cannot be sent: who reads odd lines gives the row its reason.
        at = self.text.find(b"\\u0000") if b"\\" in self.text else -1
        while at >= 0:
            line = int(self._line_at(np.array([at]))[0])
            self.odd[line] = True
            at = self.text.find(b"\\u0000", int(self.ends[line]))
        if self.text.isascii():
            return
        try:
            self.text.decode()
        except UnicodeDecodeError:
            self.odd[self._line_at(np.flatnonzero(self.bytes > _ASCII_MAX))] = True

    def _keys(self, members: _Members) -> tuple[npt.NDArray[np.int32], list[str]]:
        """The key of each member, by number; a line that has one twice, or escaped, is odd."""
        found = self._between(*members.key).dictionary_encode()
        keys, key_of = found.dictionary.to_pylist(), found.indices.to_numpy()
        escaped = [place for place, key in enumerate(keys) if "\\" in key]
        if escaped:
            self.odd[members.line[np.isin(key_of, escaped)]] = True
        counts = np.bincount(members.line, minlength=1)
        width = int(counts.max())
        if width and len(key_of) % width == 0 and width == len(keys):
            table = key_of.reshape(-1, width)
            same_line = members.line.reshape(-1, width)
            if (table == table[0]).all() and (same_line[:, 0] == same_line[:, -1]).all():
                return key_of, keys  # each line has each key once
        # Line and key as one number: sorting finds twins without a set for each line.
        codes = np.sort(members.line * np.int64(len(keys)) + key_of)
        twice = codes[1:][codes[1:] == codes[:-1]]
        self.odd[twice // max(len(keys), 1)] = True
        return key_of, keys

    def _between(
        self, begins: npt.NDArray[np.int32], ends: npt.NDArray[np.int32]
    ) -> pa.StringArray:
        """The texts between some places, ascending."""
        return self._cut(begins, ends).take(pa.array(np.arange(0, 2 * len(begins), 2)))

    def _cut(self, begins: npt.NDArray[np.int32], ends: npt.NDArray[np.int32]) -> pa.StringArray:
        """The text cut at these places, not a copy: every other piece is one between the two."""
        count = len(begins)
        offsets = np.empty(2 * count + 1, np.int32)
        offsets[:-1:2], offsets[1::2] = begins, ends
        offsets[-1] = ends[-1] if count else 0
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.text)]
        return pa.Array.from_buffers(pa.string(), 2 * count, buffers)

    def _values(self, members: _Members) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
        """The JSON of values in their one form, a string array; and where in it each stands."""
        pieces = self._cut(*members.value)
        at = 2 * np.arange(len(members.line), dtype=np.int32)
        byte = self.bytes[members.value[0]]
        string = byte == _QUOTE
        nested = (byte == _OPEN) | (byte == ord("["))
        anew: list[pa.StringArray] = []
        count = len(pieces)
        for where, write in (
            (self._holding_escapes(members, string), _string),
            (nested, _nested),
            (self._numbers(pieces, at, ~(string | nested), members.line), number),
        ):
            places = np.flatnonzero(where)
            if not len(places):
                continue
            # Python writes each distinct text once: in most columns values come again.
            distinct = pieces.take(pa.array(at[places])).dictionary_encode()
            written = pa.array(
                list(map(_tried(write), distinct.dictionary.to_pylist())), pa.string()
            )
            texts = written.take(distinct.indices)
            self.odd[members.line[places[~texts.is_valid().to_numpy(zero_copy_only=False)]]] = True
            anew.append(texts)
            at[places] = count + np.arange(len(places))
            count += len(places)
        return (pa.concat_arrays([pieces, *anew]) if anew else pieces), at

    def _holding_escapes(self, members: _Members, string: Flags) -> Flags:
        """Which values are strings with escapes."""
        if b"\\" not in self.text:
            return np.zeros(len(string), np.bool_)
        places = np.flatnonzero(self.bytes == _BACKSLASH)
        begins, ends = members.value
        found: Flags = string & (places.searchsorted(begins) < places.searchsorted(ends))
        return found

    def _numbers(
        self,
        pieces: pa.StringArray,
        at: npt.NDArray[np.int32],
        scalar: Flags,
        line: npt.NDArray[np.int32],
    ) -> Flags:
        """Which values are numbers that may have to be written anew; what is no JSON is odd."""
        places = np.flatnonzero(scalar)
        found = np.zeros(len(scalar), np.bool_)
        texts = pieces.take(pa.array(at[places]))
        is_number = pc.match_substring_regex(texts, _NUMBER)
        is_word = pc.is_in(texts, value_set=pa.array(["true", "false", "null"]))
        good = pc.or_(is_number, is_word).to_numpy(zero_copy_only=False)
        self.odd[line[places[~good]]] = True
        anew = pc.and_(is_number, pc.match_substring_regex(texts, _WRITTEN_ANEW))
        found[places[anew.to_numpy(zero_copy_only=False)]] = True
        return found


def _tried(write: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """The same, with None where it fails."""

    def tried(text: str) -> str | None:
        try:
            return write(text)
        except (ValueError, TypeError):
            return None

    return tried


def _string(text: str) -> str:
    return orjson.dumps(orjson.loads(text)).decode()


def _nested(text: str) -> str | None:
    """An object or a list with sorted keys; None where it may hold what has to be looked at.

    Where the value is written as it stands, but for the blanks between, no key came twice and no
    number lost a digit.
    """
    value = orjson.loads(text)
    if _squeezed(orjson.dumps(value).decode()) != _squeezed(text) or _MANY_DIGITS(text):
        return None
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _squeezed(text: str) -> str:
    return text.replace(": ", ":").replace(", ", ",")
