"""A column of written timestamps -> instants."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.instants import zones
from backfill.instants.candidates import format_of
from backfill.instants.numbers import Epoch, Excel
from backfill.instants.zones import (
    DAY_US,
    EARLIEST_US,
    LATEST_US,
    SECOND_US,
    Ambiguous,
    Bools,
    Cells,
    Column,
    Failure,
    Failures,
    Format,
    Ints,
    LocalTimes,
    Nonexistent,
    implausible,
    outside,
)

_SPACES = "[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]"
"""Browsers write a narrow one before AM and PM (CLDR 42)."""

_INVISIBLE = "[\u200e\u200f\ufeff]"
"""Marks of direction, which old browsers put between the parts of a date; a BOM."""

_ASCII_MAX = 0x7F
_CLASSES = np.arange(256, dtype=np.uint8)
_CLASSES[ord("0") : ord("9") + 1] = ord("0")
_CLASSES[ord("A") : ord("Z") + 1] += ord("a") - ord("A")
_SHAPE_OF_BYTE = _CLASSES.tobytes()

NATIVE = "native"

_UNIT_US = {"s": SECOND_US, "ms": 1000, "us": 1}


@dataclass(frozen=True, slots=True)
class Group:
    """The values of one shape.

    Args:
        shape: m characters, one a byte (Latin-1): positions in it are columns of `cells`.
        rows: int64 of length n: where the values stand in the column, ascending, from 0.
        cells: Their bytes, as an (n, m) array, in the same order.
    """

    shape: str
    rows: Ints
    cells: Cells
    _said: dict[Format, LocalTimes | None] = field(default_factory=dict, repr=False)

    def read(self, form: Format) -> LocalTimes | None:
        """What the n values say in a format; None if it takes no value of this shape.

        It is read once: the judge asks for a column, and the proof of its format asks too.
        """
        if form not in self._said:
            self._said[form] = form.read(self.cells, self.shape)
        return self._said[form]


class WrittenValues:
    """A column of n written timestamps, taken apart once for all who read it.

    Args:
        column: Text, numbers, timestamps or dates.
        zones: The zone of each row, as n texts, where a column beside it has them.
    """

    def __init__(self, column: Column, zones: pa.StringArray | None = None) -> None:
        self.column = column
        self.zones = zones

    def part(self, begin: int, end: int) -> "WrittenValues":
        """Those from one place up to, not including, another."""
        count = end - begin
        zones = None if self.zones is None else self.zones.slice(begin, count)
        return WrittenValues(self.column.slice(begin, count), zones)

    @cached_property
    def text(self) -> pa.StringArray:
        """The values as trimmed text, as they are written (length of the column)."""
        return as_text(self.column)

    @cached_property
    def groups(self) -> list[Group]:
        """The values that are not null, by shape."""
        return list(groups(folded(self.text)))


def folded(text: pa.StringArray) -> pa.StringArray:
    """Text in one spelling, for shapes: every space a plain one, letters beyond ASCII lower case.

    Column by column, and only where it holds more than ASCII; the length stays.
    """
    if characters(text).max(initial=0) <= _ASCII_MAX:
        return text
    # Beyond ASCII one letter may be written in two ways: shapes are compared byte by byte.
    lowered = pc.utf8_lower(pc.utf8_normalize(text, "NFC"))
    plain = pc.replace_substring_regex(lowered, _SPACES, " ")
    return strings(pc.ascii_trim_whitespace(pc.replace_substring_regex(plain, _INVISIBLE, "")))


def as_text(column: Column) -> pa.StringArray:
    """Numbers and text as trimmed text; nulls stay null, other types become empty text.

    A float is written with the fewest digits that give the same float, without an exponent, so
    that a number reads the same from a typed file and from a text file.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_text(column.cast(kind.value_type))
    if pa.types.is_floating(kind):
        return _plain(column)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return strings(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return strings(pc.ascii_trim_whitespace(strings(column)))
    return pa.array(np.full(len(column), ""), pa.string(), mask=is_null(column))


def strings(column: Column) -> pa.StringArray:
    """The column cast to strings."""
    return cast("pa.StringArray", column.cast(pa.string()))


def is_null(column: Column) -> Bools:
    """Which values are null."""
    if not column.null_count:
        return np.zeros(len(column), np.bool_)
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)


def characters(text: pa.StringArray) -> Cells:
    """The bytes (uint8) of all n texts behind one another; not a copy."""
    _, offsets, content = text.buffers()
    if content is None or not len(text):
        return np.empty(0, np.uint8)
    ends = np.frombuffer(memoryview(cast("pa.Buffer", offsets)), np.int32)[text.offset :]
    return np.frombuffer(memoryview(content), np.uint8)[ends[0] : ends[len(text)]]


def groups(text: pa.StringArray) -> Iterator[Group]:
    """The values that are not null, by shape; a value's shape is compared exactly, not hashed."""
    rows = np.arange(len(text), dtype=np.int64)
    if text.null_count:
        rows = np.flatnonzero(~is_null(text))
        text = strings(text.drop_null())
    if not len(text):
        return
    alone = _all_alike(text, rows)
    if alone is not None:
        yield alone
        return
    names, codes = _shapes(text)
    if len(names) > 1:
        order = np.argsort(codes, kind="stable")
        rows, text = rows[order], strings(text.take(order))
        ends = np.cumsum(np.bincount(codes))
    else:
        ends = np.array([len(text)])
    content, start, at = characters(text), 0, 0
    for name, end in zip(names, ends.tolist(), strict=True):
        cells = content[at : at + len(name) * (end - start)].reshape(end - start, len(name))
        yield Group(name, rows[start:end], cells)
        start, at = end, at + cells.size


def _all_alike(text: pa.StringArray, rows: Ints) -> Group | None:
    """The only group where all values have one shape, as in most files; None where not."""
    length = len(text[0].as_py().encode())
    # Tried first, since it costs two passes: most columns are written in one way throughout.
    if not (pc.binary_length(text).to_numpy() == length).all():
        return None
    cells = characters(text).reshape(len(text), length)
    shapes = cells.tobytes().translate(_SHAPE_OF_BYTE)
    # Bytes are compared many at a time, and without an array of what is equal.
    if shapes != shapes[:length] * len(text):
        return None
    return Group(shapes[:length].decode("latin-1"), rows, cells)


def _shapes(text: pa.StringArray) -> tuple[list[str], Ints]:
    """The distinct shapes, and which of them each value has."""
    _, offsets, content = text.buffers()
    translated = content.to_pybytes().translate(_SHAPE_OF_BYTE) if content else b""
    shapes = pa.Array.from_buffers(
        pa.binary(), len(text), [None, offsets, pa.py_buffer(translated)], offset=text.offset
    ).dictionary_encode()
    names = [(name or b"").decode("latin-1") for name in shapes.dictionary.to_pylist()]
    return names, shapes.indices.to_numpy()


def _plain(column: Column) -> pa.StringArray:
    """Floats as text; those that Arrow writes with an exponent are written out."""
    # Arrow writes floats as Python does: as short as they can be read back.
    text = strings(column)
    exponent = pc.match_substring(text, "e").fill_null(False).to_numpy(zero_copy_only=False)
    if not exponent.any():
        return text
    floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)[exponent]
    plain = pa.array([np.format_float_positional(number, trim="-") for number in floats])
    return strings(pc.replace_with_mask(text, pa.array(exponent), plain))


@dataclass(frozen=True, slots=True)
class Reading:
    """How the timestamps of a column are written.

    Args:
        format: `iso8601`, `rfc2822`, `epoch_s|ms|us|ns`, `excel`, a strptime pattern, or `native`
            for columns that a typed file already holds as timestamps or dates. Those are read as
            what they are whatever the format says.
        timezone: The IANA zone of clocks that carry none. Never overrides one in the text.
        ambiguous: What to make of local times that the clock showed twice.
        nonexistent: What to make of local times that the clock skipped.
        date_only: Midnight of the written day, in the zone of the text, else `timezone`, else UTC.
        proved: The format was proved, not declared: a number whose instant lies outside 1990 to
            2100 did not fit, and is unreadable.
        timezone_from: The column that has the zone of each row, instead of `timezone`.
        zones: What abbreviations mean: pairs of a name and an IANA zone or an offset.
        pivot: Two-digit years from here on are 19xx; None: nobody said so.
    """

    format: str
    timezone: str | None = None
    ambiguous: Ambiguous = "reject"
    nonexistent: Nonexistent = "reject"
    date_only: bool = False
    proved: bool = False
    timezone_from: str | None = None
    zones: tuple[tuple[str, str], ...] = ()
    pivot: int | None = None

    @property
    def is_number(self) -> bool:
        """Whether the format is a count of something, whose unit may be mistaken."""
        return self.format == "excel" or self.format.startswith("epoch_")


@dataclass(frozen=True, slots=True)
class Instants:
    """The instants of a column of n rows.

    Args:
        micros: Length n: unix microseconds, floored; null where the input is null or failed.
        failures: Length n: a `timestamp_…` code of the closed list; null where the input is null
            or was read.
    """

    micros: pa.Int64Array
    failures: pa.StringArray


def read(column: "Column | WrittenValues", reading: Reading) -> Instants:
    """Read every value of a column of n rows as an instant.

    Args:
        column: Text, numbers, timestamps or dates, dictionary-encoded or not; `WrittenValues`
            where others read it too, or a column beside it has the zones.
        reading: How they are written.

    Raises:
        ValueError: The format or the zone of `reading` is not valid.
    """
    written = column if isinstance(column, WrittenValues) else WrittenValues(column)
    column = written.column
    if (
        isinstance(column, pa.DictionaryArray)
        and len(column.dictionary) <= len(column)
        and written.zones is None
    ):
        # Each distinct value once; not where the dictionary is longer, as that of a slice can be.
        distinct = read(column.dictionary, reading)
        return Instants(
            distinct.micros.take(column.indices), distinct.failures.take(column.indices)
        )
    day_zone = _day_zone(column, reading)
    declared = _DeclaredZones(reading, written.zones)
    micros = np.zeros(len(column), dtype=np.int64)
    # Whatever no shape's reading takes stays as it is here.
    failures = np.full(len(column), Failure.UNREADABLE, dtype=np.uint8)
    for rows, local in _local_times(written, reading):
        found = _instants(local, reading, day_zone, declared.at(rows))
        if len(rows) == len(column):  # all are written alike: nothing has to be put in its place
            micros, failures = found
        else:
            micros[rows], failures[rows] = found
    return _pack(micros, failures, is_null(column))


def seconds(micros: pa.Int64Array) -> pa.Int64Array:
    """N unix microseconds -> n unix seconds, floored: -1 µs is in second -1; nulls stay null."""
    # numpy's division floors, also below zero; Arrow's cuts off towards it.
    values = micros.fill_null(0).to_numpy() // SECOND_US
    return pa.array(values, pa.int64(), mask=is_null(micros))


def validate_reading(reading: Reading) -> None:
    """Raise ValueError, with a sentence that names what is wrong, unless a reading makes sense."""
    if reading.format != NATIVE:
        format_of(reading.format)
    if reading.timezone is not None:
        zones.check_zone(reading.timezone)
    for name, meant in reading.zones:
        if not name.strip() or zones.meaning_of(name, {}) is not None:
            raise ValueError(f"zones: {name!r} needs no meaning: it has one")
        zones.check_meaning(meant)


def fitted(local: LocalTimes, form: Format, declared: Mapping[str, str]) -> Failures:
    """The failures of n values that must prove a format.

    Numbers must be plausible besides, and a zone's name must mean something.

    Args:
        local: What the values say in that format.
        form: The format.
        declared: What abbreviations mean.
    """
    if local.zone and zones.meaning_of(local.zone, declared) is None:
        # All values of a group have the same zone: it is part of their shape.
        return np.full_like(local.failures, Failure.ZONE_UNKNOWN)
    if not isinstance(form, Epoch | Excel):
        return local.failures
    return np.where(implausible(local.utc_us), Failure.UNREADABLE, local.failures).astype(np.uint8)


def _local_times(written: WrittenValues, reading: Reading) -> Iterator[tuple[Ints, LocalTimes]]:
    """What the values say, with their rows; unreadable ones are left out."""
    column = written.column
    if is_native(column.type):
        rows = np.flatnonzero(~is_null(column))
        yield rows, _typed_times(column.drop_null())
    elif reading.format != NATIVE:
        form = format_of(reading.format, reading.pivot)
        declared = dict(reading.zones)
        for group in written.groups:
            local = group.read(form)
            if local is not None:
                # Who declares epoch_s may have times of 1985; a proof may not rest on them.
                failures = fitted(local, form, declared) if reading.proved else local.failures
                yield group.rows, replace(local, failures=failures)


class _DeclaredZones:
    """The zones of clocks that carry none: one for the column, or one for each of its n rows."""

    def __init__(self, reading: Reading, zones_of_rows: pa.StringArray | None) -> None:
        self._reading = reading
        self._names: list[str | None] = []
        self._codes: Ints | None = None
        if zones_of_rows is not None:
            encoded = zones_of_rows.dictionary_encode()
            declared = dict(reading.zones)
            # A zone that is written but means nothing is told apart from one that is not written.
            self._names = [
                zones.meaning_of(each, declared) or "" for each in encoded.dictionary.to_pylist()
            ]
            self._names.append(None)
            codes = encoded.indices.fill_null(len(self._names) - 1)
            self._codes = codes.to_numpy(zero_copy_only=False).astype(np.int64)

    def at(self, rows: Ints) -> list[tuple[Bools | slice, str | None]]:
        """The zones of some rows, each with where it holds among them; None: no zone."""
        if self._codes is None:
            return [(slice(None), self._reading.timezone)]
        codes = self._codes[rows]
        return [(codes == code, self._names[code]) for code in np.unique(codes).tolist()]


def _instants(
    local: LocalTimes,
    reading: Reading,
    day_zone: str | None,
    declared: list[tuple[Bools | slice, str | None]],
) -> tuple[Ints, Failures]:
    """Apply the offset that the text carries, else its zone, else the zone that is declared.

    Args:
        local: What n values say.
        reading: How the column is written.
        day_zone: The zone in which instants that carry no clock of their own have a day.
        declared: The declared zones, each with its rows among the n.

    Returns:
        int64 of length n: unix microseconds; uint8 of length n: a `Failure` each.
    """
    failures = np.where(
        (local.failures == Failure.NONE) & outside(local.local_us),
        Failure.OUT_OF_RANGE,
        local.failures,
    ).astype(np.uint8)
    # Failed values mean nothing, and may be beyond what arithmetic in 64 bits takes.
    local_us = np.where(failures == Failure.NONE, local.local_us, 0)
    offset_us = local.offset_us
    # A zone in the text overrides what is declared for clocks that carry none.
    if local.zone and offset_us is None:
        meant = zones.meaning_of(local.zone, dict(reading.zones))
        declared = [(slice(None), meant or "")]
    if reading.date_only:
        if day_zone is not None:
            local_us, offset_us = zones.to_local(local_us, day_zone), None
            declared = [(slice(None), day_zone)]
        # Midnight on the clock, before it becomes an instant: days of 23 and 25 hours have one,
        # too.
        local_us = local_us - local_us % DAY_US
    micros = local_us if offset_us is None else local_us - offset_us
    if offset_us is None:
        micros = micros.copy()
        for rows, zone in declared:
            micros[rows], unresolved = _localised(local_us[rows], zone, reading)
            failures[rows] = np.where(failures[rows] == Failure.NONE, unresolved, failures[rows])
    # Asked again: an offset can move the last day of 9999 into the year 10000.
    failures[(failures == Failure.NONE) & outside(micros)] = Failure.OUT_OF_RANGE
    return micros, failures


def _localised(local_us: Ints, zone: str | None, reading: Reading) -> tuple[Ints, Failures]:
    """The instants of n clocks in one zone; None: there is none, empty: its name means nothing."""
    if zone is None and reading.date_only:
        zone = "UTC"
    if zone:
        return zones.localise(local_us, zone, reading.ambiguous, reading.nonexistent)
    failure = Failure.NO_ZONE if zone is None else Failure.ZONE_UNKNOWN
    return local_us, np.full(len(local_us), failure, dtype=np.uint8)


def _day_zone(column: Column, reading: Reading) -> str | None:
    """Where instants without a clock (epochs, aware timestamps) have their day."""
    if is_native(column.type):
        return zone_of(column.type)
    is_epoch = reading.format != NATIVE and isinstance(format_of(reading.format), Epoch)
    # Epochs have no clock of their own, so the day that is meant must come from a zone.
    return (reading.timezone or "UTC") if is_epoch else None


def _pack(micros: Ints, failures: Failures, is_null: Bools) -> Instants:
    failed = failures != Failure.NONE
    if not failed.any():
        return Instants(pa.array(micros, pa.int64()), pa.nulls(len(micros), pa.string()))
    codes = pa.array(failures, pa.int8(), mask=is_null | ~failed)
    reasons = pa.DictionaryArray.from_arrays(codes, pa.array([f.code for f in Failure]))
    return Instants(pa.array(micros, pa.int64(), mask=is_null | failed), strings(reasons))


def is_native(kind: pa.DataType) -> bool:
    """Whether values of this type are timestamps or dates."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def zone_of(kind: pa.DataType) -> str | None:
    """The zone that a timestamp type carries; its values are UTC whatever the zone."""
    return kind.tz if pa.types.is_timestamp(kind) else None


def _typed_times(column: Column) -> LocalTimes:
    """What n timestamps or dates of a typed file say, none of them null. Nanoseconds are floored.

    Fields as in pyarrow: timestamps count their unit since 1970 (UTC if the type has a zone, else
    on a local clock), date32 counts days, date64 milliseconds.
    """
    kind = column.type
    ticks = column.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    values = ticks.to_numpy(zero_copy_only=False).astype(np.int64)
    # Divided, not multiplied: nanoseconds since 1970 already fill the 64 bits.
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        values, tick_us = values // 1000, 1
    elif pa.types.is_date32(kind):
        tick_us = DAY_US
    else:
        tick_us = _UNIT_US[kind.unit] if pa.types.is_timestamp(kind) else 1000
    outside = (values < EARLIEST_US // tick_us) | (values > LATEST_US // tick_us)
    failures = np.where(outside, Failure.OUT_OF_RANGE, Failure.NONE).astype(np.uint8)
    local_us = np.where(outside, 0, values) * tick_us
    return LocalTimes(local_us, np.zeros_like(local_us) if zone_of(kind) else None, failures)
