"""What a column's evidence says of its moments, in the words of the pipeline file."""

from dataclasses import dataclass

import pyarrow as pa

from backfill.instants import DATES, NATIVE, Ambiguity, Evidence, NoFormat

_DAYS = {each.format for each in DATES}


@dataclass(frozen=True, slots=True)
class TimestampColumn:
    """How the moments of a column are written.

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

    @property
    def evidence(self) -> str:
        """What proves it, as a sentence."""
        if self.rivals:
            shown = " or ".join(self.readings)
            return f"{' and '.join(self.rivals)} both fit all {self.fits:,} values: one is {shown}"
        if self.format is None:
            return "the file itself has moments here"
        said = "all" if self.fits == self.values else f"{self.fits:,} of"
        return f"proved: it fits {said} {self.values:,} values, no rival as many"


def moments_of(
    evidence: Evidence, type_: pa.DataType | None, *, whole: bool
) -> TimestampColumn | None:
    """What was found out about a column; None where its values are no moments.

    Args:
        evidence: What all of its values prove.
        type_: Its type, where the file has types.
        whole: Whether all values are whole numbers.
    """
    if type_ is not None and pa.types.is_temporal(type_):
        if pa.types.is_time(type_) or pa.types.is_duration(type_):
            return None
        values = evidence.values
        return TimestampColumn(None, values, values, not evidence.zoneless, pa.types.is_date(type_))
    found = evidence.decide()
    if isinstance(found, NoFormat) or not evidence.values:
        return None
    values, fits = evidence.values, evidence.figures[0].fits
    has_zone = not evidence.zoneless
    if isinstance(found, Ambiguity):
        rivals = found.first.format, found.second.format
        readings = found.first_moment, found.second_moment
        days = _DAYS.issuperset(rivals)
        return TimestampColumn(None, values, fits, has_zone, days, rivals, readings)
    if found.format == NATIVE:
        return TimestampColumn(None, values, values, has_zone, is_day=False)
    day = next((e.format for e in evidence.figures if e.fits == fits and e.format in _DAYS), None)
    is_day = day is not None or (found.format == "excel" and whole)
    return TimestampColumn(day or found.format, values, fits, has_zone, is_day)
