"""The declared attributes of a source: types, timestamps, names that mean something."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from backfill.instants import NoFormat
from backfill.report.wording import counted
from backfill.scaffold import names
from backfill.scaffold.column_profile import MARKS, ColumnProfile
from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.pipeline_text import Setting, Value

_MEANINGFUL: Mapping[str, Callable[[ColumnProfile], bool]] = MappingProxyType(
    {
        "email": lambda column: column.holds_emails and names.says_email(column.label),
        "created_at": lambda column: names.says_created(column.label) and bool(column.timestamps()),
    }
)
"""Attributes that the service acts on, in this spelling only (Track docs), and what means them."""

_NEARLY_UNIQUE_MIN = 0.95
_KEY_BYTES_MAX = 64


@dataclass(frozen=True, slots=True)
class NumberMarks:
    """How the numbers of files are written.

    Args:
        decimal: The decimal mark; empty: they have types.
        thousands: What groups their digits; empty: nothing.
        why: What says so.
    """

    decimal: str = "."
    thousands: str = ""
    why: str = ""

    def take(self, type_: str) -> bool:
        """Whether numbers that are written in one of the ways of `MARKS` are read right."""
        decimal, thousands = MARKS[type_]
        return decimal == self.decimal and thousands in ("", self.thousands)

    def settle(self, mark: str) -> bool:
        """Whether other columns prove what a mark means that may mean two things."""
        return bool(self.why) and mark in (self.decimal, self.thousands)


def against(found: NoFormat) -> str:
    """How many values a format fits, the first that it does not fit, and what would help."""
    said = []
    if found.nearest is not None and found.misfit is not None:
        said.append(
            f"{found.fits:,} of {found.values:,} values fit {found.nearest.format}, the first that"
            f" does not is {found.misfit.value!r} in row {found.misfit.row:,}"
        )
    if found.short_year:
        said.append(f"two-digit years: {found.short_year} fits where pivot is set")
    if found.unknown_zones:
        said.append(f"zones would have to say what {', '.join(found.unknown_zones)} means")
    return "; ".join(said)


def names_sent_as(look: FileProfile, kind: str) -> dict[str, str]:
    """The columns that are sent under another name: the one by which the service knows them."""
    if kind != "customers":
        return {}
    found = {}
    for meant, means in _MEANINGFUL.items():
        first = next(filter(means, look.every.values()), None)
        # Where the service's own name is there too, that column keeps it.
        if first is not None and meant not in look.columns:
            found[first.name] = meant
    return found


def declarable(look: FileProfile) -> list[ColumnProfile]:
    """The columns as they may be declared: where an object is but a wrapper, what is in it."""
    inner = {
        each.label: each
        for each in look.members.values()
        if each.label in look.columns and each.timestamps()
    }
    return [inner.get(each.name, each) for each in look.columns.values()]


def typed(
    column: ColumnProfile, name: str, marks: NumberMarks, nulls: Collection[str]
) -> list[Setting]:
    """The declaration of a column that holds no timestamps; none where it is what it is.

    Args:
        column: The column.
        name: What it is sent as.
        marks: How the file's numbers are written.
        nulls: The texts that mean null.
    """
    if column.holds_bytes:
        return [Setting(name, "string", "bytes in the file, read as text")]
    renamed: dict[str, Value] = {} if name == column.name else {"from": column.name}
    if nearly := column.nearly_timestamps():
        form = nearly.nearest.format if nearly.nearest else nearly.short_year
        suggested: Value = {**renamed, "type": "timestamp", "format": form}
        said = [Setting(name, renamed)] if renamed else []
        return [*said, Setting(name, suggested, against(nearly), on=False)]
    type_, fits = _type_of(column, marks)
    # Texts like N/A that stay texts would be rejected by a declared type.
    left = sum(count for text, count in column.like_null.items() if text not in nulls)
    if type_ == "string":
        return [Setting(name, renamed)] if renamed else []
    value: Value = {**renamed, "type": type_} if renamed else type_
    if fits == column.values and not left:
        return [Setting(name, value)]
    others = column.values - fits + left
    note = f"fits {fits:,} values; it would reject {counted(others, 'row')}"
    perhaps = Setting(name, value, note, on=False)
    return [Setting(name, renamed), perhaps] if renamed else [perhaps]


def _type_of(column: ColumnProfile, marks: NumberMarks) -> tuple[str, int]:
    if not marks.decimal:
        return "string", column.values
    type_, fits = column.nearly()
    if column.doubtful_mark and marks.settle(column.doubtful_mark):
        return "number", column.values
    if type_ in MARKS:
        return ("number", fits) if marks.take(type_) else ("string", column.values)
    return type_, fits


def number_marks(look: FileProfile) -> NumberMarks:
    """How the numbers of files are written: as in most of their columns."""
    types = {each.name: each.type_of_text() for each in look.columns.values()}
    written = {name: MARKS[type_] for name, type_ in types.items() if type_ in MARKS}
    if not written:
        return NumberMarks()
    decimals = Counter(decimal for decimal, _ in written.values())
    # One setting a source: what is written otherwise is sent as text, and told.
    decimal = max(".,", key=lambda each: decimals[each])
    groups = Counter(mark for of, mark in written.values() if of == decimal and mark)
    found = NumberMarks(decimal, next((mark for mark, _ in groups.most_common(1)), ""))
    fits = [name for name in written if found.take(types[name])]
    others = [name for name in written if name not in fits]
    left = f"; not so {', '.join(others)}, sent as text" if others else ""
    return replace(found, why=f"in all values of {', '.join(fits)}{left}")


def like_null(look: FileProfile) -> Counter[str]:
    """The texts that may mean null, and how often they stand."""
    found: Counter[str] = Counter()
    for each in look.columns.values():
        found.update(each.like_null)
    return found


def maybe_key(look: FileProfile, used: Sequence[ColumnProfile]) -> tuple[str, str]:
    """A column that may be what makes an event itself, and what speaks for it; empty: none."""
    for each in look.columns.values():
        if each in used or not each.distinct.count or each.is_nested:
            continue
        if each.is_unique and each.values == look.rows and each.bytes_max <= _KEY_BYTES_MAX:
            return each.name, "if it is a key: different in every row"
        if names.says_key(each.label) and each.distinct.count >= _NEARLY_UNIQUE_MIN * each.values:
            return each.name, f"if it is a key; repeated: {each.distinct.repeated:,} values"
    return "", ""


def shared_emails(look: FileProfile, used: Sequence[ColumnProfile]) -> str:
    """How many e-mail addresses several people have, as far as columns tell by themselves."""
    if not used or not used[0].is_unique:
        return ""
    for each in look.columns.values():
        if names.says_email(each.label) and each not in used and each.lowered.repeated:
            return (
                f"{counted(each.lowered.repeated, 'address', 'addresses')} shared by several people"
            )
    return ""
