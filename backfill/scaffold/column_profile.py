"""What all values of one column have in common: types, timestamps, repeats, texts like null."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import identity, json_text
from backfill.encoding.cell_json import Cells, any_of
from backfill.encoding.json_text import Encoded, as_mask, null_where
from backfill.encoding.typed_json import refusal_of
from backfill.instants import DATES, NATIVE, Ambiguity, Evidence, NoFormat, Reading
from backfill.rows import Chunk, Rows
from backfill.scaffold import names
from backfill.scaffold.distinct_values import Distinct
from backfill.sources.layout import VALUE_BYTES_MAX

LIKE_NULL = (
    *("NULL", "null", "Null", "(null)", "\\N", "nil", "None", "none", "undefined", "NaN", "nan"),
    *("N/A", "n/a", "#N/A", "NA", "-", "--", "—", "?"),
    *("0000-00-00", "0000-00-00 00:00:00"),  # MySQL
)
"""Texts that exports write where there is nothing."""

SURELY_NULL = "\\N"
"""Means nothing else: database dumps write it (PostgreSQL, COPY)."""

_NO_QUANTITY = r"^\s*([+]|-?0[0-9])|[0-9]{16}"
"""What a number would lose: the plus of a telephone number, leading zeros, digits of a card."""

_OBJECT = r"^\s*[\[{]"
_EMAIL = identity.EMAIL.replace("*$", "+$")  # with a dot: a proposal has to be surer

_WHOLE_FLOAT = r"^\s*-?[0-9]+\.0+\s*$"

_EXPONENT = r"^\s*[-+]?[0-9.,]+[eE][-+]?[0-9]+\s*$"

_NAMES_SHOWN = 3

_EMAILS_MIN = 0.9

_TRIED_MIN = 5_000

_MISFITS_MAX = 0.1


def _numbers(text: pa.StringArray, marks: tuple[str, str]) -> Encoded:
    return json_text.numbers(text, *marks)


MARKS = {
    "number": (".", ""),
    "decimal comma": (",", ""),
    "1,234.5": (".", ","),
    "1.234,5": (",", "."),
    "1 234.5": (".", " "),
    "1 234,5": (",", " "),
}
"""How numbers may be written: the decimal mark, and what groups their digits."""
_GROUPS = {mark: rf"^-?[1-9][0-9]{{0,2}}([{mark}][0-9]{{3}})+$" for mark in ",."}
"""What is a whole number if a mark groups digits, and another one if it is the decimal mark."""

_TAKES: dict[str, Callable[[pa.StringArray], Encoded]] = {
    "integer": json_text.integers,
    **{name: partial(_numbers, marks=marks) for name, marks in MARKS.items()},
    "boolean": json_text.booleans,
    "json": json_text.documents,
}
"""The judge's own kernels: what one takes, the judge takes."""

_CLOCK = r"\s*[0-9]{1,2}:[0-9]{2}"
_CLOCKS = {
    "%H:%M": rf"^{_CLOCK}\s*$",
    "%H:%M:%S": rf"^{_CLOCK}:[0-9]{{2}}([.,][0-9]+)?\s*$",
    "%I:%M %p": rf"(?i)^{_CLOCK}\s?[ap][.]?m[.]?\s*$",
    "%I:%M:%S %p": rf"(?i)^{_CLOCK}:[0-9]{{2}}\s?[ap][.]?m[.]?\s*$",
}
"""How clocks are written that stand in a column of their own."""
_ZONE = r"^\s*([A-Z][A-Za-z_]+/[A-Za-z_/+-]+|UTC|GMT|Z|(UTC|GMT)?[-+][0-9]{2}:?[0-9]{2})\s*$"
_DAYS = {each.format for each in DATES}


@dataclass(frozen=True, slots=True)
class TimestampColumn:
    """How the timestamps of a column are written.

    Args:
        format: The proved format; None where the file has types, or two formats are left.
        rivals: The formats that are left, where nothing proves one of them.
        readings: What each of the rivals makes of one value.
        values: How many values there are.
        fits: How many of them the format fits.
        has_zone: Whether each says its zone.
        is_day: Whether they are days, without a clock.
    """

    format: str | None
    values: int
    fits: int
    has_zone: bool
    is_day: bool
    rivals: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()

    def with_clock(self, clock: str) -> "TimestampColumn | None":
        """The same days with a clock behind each; None where they cannot be joined."""
        forms = self.rivals or (self.format or "%Y-%m-%d",)
        if not self.is_day or not _DAYS.issuperset(forms):
            return None
        joined = tuple(f"{each} {clock}" for each in forms)
        if self.rivals:
            days = tuple(each.partition("T")[0] for each in self.readings)
            return replace(self, rivals=joined, readings=days, is_day=False)
        return replace(self, format=joined[0], is_day=False)

    @property
    def evidence(self) -> str:
        """What proves it, as a sentence."""
        if self.rivals:
            shown = " or ".join(self.readings)
            return f"{' and '.join(self.rivals)} both fit all {self.fits:,} values: one is {shown}"
        if self.format is None:
            return "the file itself has timestamps here"
        said = "all" if self.fits == self.values else f"{self.fits:,} of"
        return f"proved: it fits {said} {self.values:,} values, no rival as many"


class ColumnProfile:
    """Looks at a column, chunk by chunk; memory does not grow with it.

    Args:
        name: The column.
        type_: Its type, where the file has types.

    `values` counts the cells that hold something, `like_null` the texts that may mean nothing,
    `too_long` the values beyond an attribute's limit, `emails` the e-mail addresses, `objects` the
    nested JSON values, `whole_floats` whole numbers with a point (`42.0`), `exponents` those of
    which a spreadsheet kept some digits only (`1.2E+15`); `examples` has some of the first values.
    """

    def __init__(self, name: str, type_: pa.DataType | None = None) -> None:
        self.name = name
        self.label = names.label(name)
        self.type = type_
        self.values = self.emails = self.objects = self.too_long = self.bytes_max = 0
        self.whole_floats = self.exponents = 0
        self.like_null: Counter[str] = Counter()
        self.distinct = Distinct()
        self.lowered = Distinct()
        self.examples: list[str] = []
        self._misfits = dict.fromkeys(_TAKES, 0)
        self._clocks = dict.fromkeys(_CLOCKS, 0)
        self._zones = 0
        self._marked: Counter[str] = Counter()
        self._groups: Counter[str] = Counter()
        self._evidence: Evidence | None = Evidence()
        self._found: Reading | Ambiguity | NoFormat | None = None

    @property
    def is_text(self) -> bool:
        """Whether nothing but its text says what its values are."""
        return self.type is None

    @property
    def holds_emails(self) -> bool:
        """Whether it holds e-mail addresses, but for a few values."""
        return self.emails > 0 and self.emails >= _EMAILS_MIN * self.values

    @property
    def holds_bytes(self) -> bool:
        """Whether it is of bytes, which may be text."""
        return self.type is not None and (
            pa.types.is_binary(self.type)
            or pa.types.is_large_binary(self.type)
            or pa.types.is_fixed_size_binary(self.type)
        )

    @property
    def refusal(self) -> str:
        """Why its type cannot be sent, and no declaration helps; empty: it can."""
        if self.type is None or self.holds_bytes:
            return ""
        return refusal_of(self.type) or ""

    @property
    def is_nested(self) -> bool:
        """Whether it holds objects or lists."""
        return self.objects > 0 or (self.type is not None and pa.types.is_nested(self.type))

    @property
    def holds_whole_floats(self) -> bool:
        """Whether its numbers are whole, and written with a point all the same."""
        if self.type is not None and pa.types.is_floating(self.type):
            return True
        return self.values > 0 and self.whole_floats == self.values

    @property
    def can_identify(self) -> bool:
        """Whether its values may be identifiers: texts or whole numbers, with all their digits."""
        if self.type is not None and (
            pa.types.is_nested(self.type)
            or pa.types.is_boolean(self.type)
            or pa.types.is_temporal(self.type)
        ):
            return False
        some_floats = 0 < self.whole_floats < self.values
        return not (self.objects or self.exponents or some_floats)

    @property
    def clock(self) -> str:
        """How the clocks are written that it holds, and no days; empty: it holds others."""
        if self.type is not None:
            return "%H:%M:%S" if pa.types.is_time(self.type) else ""
        found = (form for form, count in self._clocks.items() if count == self.values)
        return next(found, "") if self.values else ""

    @property
    def holds_zones(self) -> bool:
        """Whether it holds time zones, by names that mean one."""
        return 0 < self.values == self._zones

    @property
    def doubtful_mark(self) -> str:
        """The mark in its numbers that may group digits or be the decimal mark; empty: none."""
        are_numbers = not (self._misfits["number"] and self._misfits["decimal comma"])
        if not are_numbers or len(self._marked) != 1 or names.says_text(self.label):
            return ""
        ((mark, count),) = self._marked.items()
        return mark if count == self._groups[mark] else ""

    @property
    def is_unique(self) -> bool:
        """Whether each value stands once."""
        return self.values > 0 and not self.distinct.repeated

    def add(self, chunk: Chunk) -> None:
        """Take a chunk of the column into account."""
        self._found = None
        cells = Cells.of(chunk, self.name, [""])
        column, kind = cells.column, cells.kind
        if pa.types.is_temporal(column.type) or pa.types.is_nested(column.type):
            self.values += len(column) - column.null_count
            if self._evidence and not pa.types.is_nested(column.type):
                self._evidence.add(column, chunk.rows)
            return
        if kind != "typed":
            self.objects += _count(pc.match_substring_regex(column, _OBJECT))
        text = cells.text().text
        self._text(self._without_nulls(text), chunk.rows)

    def _without_nulls(self, text: pa.StringArray) -> pa.StringArray:
        """The column without the texts that may mean nothing, which are counted."""
        # Taken out first: one N/A among numbers would make the column text.
        like = pc.is_in(text, value_set=pa.array(LIKE_NULL))
        if not _count(like):
            return text
        for each in pc.value_counts(text.filter(like)).to_pylist():
            self.like_null[each["values"]] += each["counts"]
        return null_where(text, LIKE_NULL)

    def _text(self, text: pa.StringArray, rows: Rows) -> None:
        given = text.drop_null()
        if not len(given):
            return
        if not self.values:
            self.examples = pc.unique(given)[:_NAMES_SHOWN].to_pylist()
        self.values += len(given)
        sizes = pc.binary_length(given)
        self.bytes_max = max(self.bytes_max, pc.max(sizes).as_py())
        self.too_long += _count(pc.greater(sizes, VALUE_BYTES_MAX))
        self.emails += _count(pc.match_substring_regex(given, _EMAIL))
        self.whole_floats += _count(pc.match_substring_regex(given, _WHOLE_FLOAT))
        self.exponents += _count(pc.match_substring_regex(given, _EXPONENT))
        self.distinct.add(given)
        # Only where addresses are: two spellings of one address are one person.
        if self.emails:
            self.lowered.add(pc.utf8_lower(given))
        self._written(given)
        if self._evidence is not None:
            self._evidence.add(text, rows)
            # Nothing so far was a timestamp: what follows is not tried any more.
            if self.values > _TRIED_MIN and not any(each.fits for each in self._evidence.figures):
                self._evidence = None

    def _written(self, given: pa.StringArray) -> None:
        """Count which ways of writing fit; what the first values exclude is not tried."""
        here: dict[str, int] = {}
        for type_, misfits in self._misfits.items():
            if misfits <= self.values * _MISFITS_MAX or self.values < _TRIED_MIN:
                decimal, thousands = MARKS.get(type_, ("", ""))
                ungrouped = here.get("number" if decimal == "." else "decimal comma", len(given))
                # Digits without groups are as in the other way; that is told by looking.
                if thousands and not (ungrouped and _has_groups(given, thousands)):
                    here[type_] = ungrouped
                else:
                    here[type_] = _misfits(type_, given)
                self._misfits[type_] += here[type_]
        for mark, pattern in _GROUPS.items():
            if marked := _count(pc.match_substring(given, mark)):
                self._marked[mark] += marked
                self._groups[mark] += _count(pc.match_substring_regex(given, pattern))
        # Told by the first value: only a column that begins so is looked at for clocks.
        if re.match(_CLOCK, self.examples[0]):
            for form, pattern in _CLOCKS.items():
                self._clocks[form] += _count(pc.match_substring_regex(given, pattern))
        elif re.match(_ZONE, self.examples[0]):
            self._zones += _count(pc.match_substring_regex(given, _ZONE))

    def type_of_text(self) -> str:
        """The type that every value fits; a number is one of `MARKS`, by the way it is written.

        Digits that are no quantity by their column's name (postal codes, ids) stay strings.
        """
        return self._type(lambda misfits: not misfits)

    def nearly(self) -> tuple[str, int]:
        """The type that most values fit, and how many do; `string` takes all."""
        type_ = self._type(lambda misfits: misfits <= self.values * _MISFITS_MAX)
        return type_, self.values - self._misfits.get(type_, 0)

    def _type(self, is_enough: Callable[[int], bool]) -> str:
        if not self.values or not self.is_text:
            return "string"
        fits = {each for each, misfits in self._misfits.items() if is_enough(misfits)}
        # 0 and 1 are numbers, unless the name asks a question that has a yes.
        if "boolean" in fits and ("integer" not in fits or names.says_yes_or_no(self.label)):
            return "boolean"
        if names.says_text(self.label):
            return "string"
        found = next((each for each in ("integer", *MARKS, "json") if each in fits), "string")
        is_doubtful = found in ("number", "decimal comma") and self.doubtful_mark
        return "string" if is_doubtful else found

    def timestamps(self) -> TimestampColumn | None:
        """How its timestamps are written; None where it holds none."""
        if self._evidence is None or not self.values or self._is_quantity():
            return None
        found = self._decided(self._evidence)
        return timestamp_column_of(
            self._evidence, found, self.type, whole=not self._misfits["integer"]
        )

    def nearly_timestamps(self) -> NoFormat | None:
        """What stands against a format where half of the values have one; None: it has no such."""
        if self._evidence is None or not self.values or self._is_quantity():
            return None
        found = self._decided(self._evidence)
        if not isinstance(found, NoFormat):
            return None
        is_half = 2 * found.fits >= found.values
        return found if is_half or found.short_year or found.unknown_zones else None

    def _decided(self, evidence: Evidence) -> Reading | Ambiguity | NoFormat:
        # It is asked again and again, and hundreds of candidates are compared for an answer.
        if self._found is None:
            self._found = evidence.decide()
        return self._found

    def _is_quantity(self) -> bool:
        """Whether it holds numbers under a name that says nothing of time."""
        is_number = not self._misfits["number"] or _is_number(self.type)
        return is_number and self._is_of_text() and not names.says_timestamp(self.label)

    def _is_of_text(self) -> bool:
        return self.type is None or not pa.types.is_temporal(self.type)


def _has_groups(given: pa.StringArray, mark: str) -> bool:
    return _count(pc.match_substring_regex(given, rf"[0-9][{mark}][0-9]{{3}}")) > 0


def _misfits(type_: str, given: pa.StringArray) -> int:
    """How many of these values a type does not take without a loss."""
    lost = pa.repeat(False, len(given))
    if type_ == "json":
        lost = pc.invert(pc.match_substring_regex(given, _OBJECT))
        if _count(lost):  # the kernel for JSON is slow, and mostly not needed
            return _count(lost)
    elif type_ != "boolean":
        lost = pc.match_substring_regex(given, _NO_QUANTITY)
        if type_ == "integer":
            lost = pc.or_(lost, pc.match_substring(given, "."))
    failures = _TAKES[type_](given).failures.values()
    return int(any_of([as_mask(lost), *failures], len(given)).sum())


def _count(mask: pa.BooleanArray) -> int:
    return int(as_mask(mask).sum())


def _is_number(type_: pa.DataType | None) -> bool:
    return type_ is not None and (pa.types.is_integer(type_) or pa.types.is_floating(type_))


def timestamp_column_of(
    evidence: Evidence,
    found: Reading | Ambiguity | NoFormat,
    type_: pa.DataType | None,
    *,
    whole: bool,
) -> TimestampColumn | None:
    """What was found out about a column; None where its values are no timestamps.

    Args:
        evidence: What all of its values prove.
        found: What that decides.
        type_: Its type, where the file has types.
        whole: Whether all values are whole numbers.
    """
    if type_ is not None and pa.types.is_temporal(type_):
        if pa.types.is_time(type_) or pa.types.is_duration(type_):
            return None
        values = evidence.values
        return TimestampColumn(None, values, values, not evidence.zoneless, pa.types.is_date(type_))
    if isinstance(found, NoFormat) or not evidence.values:
        return None
    values, fits = evidence.values, evidence.figures[0].fits
    has_zone = not evidence.zoneless
    if isinstance(found, Ambiguity):
        rivals = found.first.format, found.second.format
        readings = found.first_instant, found.second_instant
        days = _DAYS.issuperset(rivals)
        return TimestampColumn(None, values, fits, has_zone, days, rivals, readings)
    if found.format == NATIVE:
        return TimestampColumn(None, values, values, has_zone, is_day=False)
    day = next((e.format for e in evidence.figures if e.fits == fits and e.format in _DAYS), None)
    is_day = day is not None or (found.format == "excel" and whole)
    return TimestampColumn(day or found.format, values, fits, has_zone, is_day)
