"""The declared attributes of a source: types, timestamps, names that mean something."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from backfill.report.wording import counted
from backfill.scaffold import names
from backfill.scaffold.column_profile import ColumnProfile, TimestampColumn
from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.pipeline_text import Setting, Value
from backfill.scaffold.questions import Ask, Question

_MEANINGFUL: Mapping[str, Callable[[ColumnProfile], bool]] = MappingProxyType(
    {
        "email": lambda column: column.holds_emails and names.says_email(column.name),
        "unsubscribed": lambda column: names.plain(column.name) == "unsubscribed",
        "created_at": lambda column: names.says_created(column.name) and bool(column.timestamps()),
    }
)
"""Attributes that the service acts on, in this spelling only (Track docs), and what means them."""

_NEARLY_UNIQUE_MIN = 0.95
_KEY_BYTES_MAX = 64


@dataclass(slots=True)
class DeclaredAttribute:
    """How timestamps are written: what stands in the inline table, and why."""

    value: dict[str, Value]
    note: str


def written(file: str, column: str, timestamps: TimestampColumn, ask: Ask) -> DeclaredAttribute:
    """The format of a column of timestamps; where two fit, a person is asked."""
    if timestamps.rivals:
        question = f"{file}: {column}: {timestamps.evidence}; which one?"
        if answer := ask(Question(question, "", timestamps.rivals)):
            return DeclaredAttribute({"format": answer}, "your answer")
        note = f"{timestamps.evidence}; until a format is set here, a run refuses to send"
        return DeclaredAttribute({}, note)
    if timestamps.format is None:
        return DeclaredAttribute({}, timestamps.evidence)
    return DeclaredAttribute({"format": timestamps.format}, timestamps.evidence)


def attribute_name(column: ColumnProfile, look: FileProfile, kind: str) -> str:
    """What a column is sent as: its own name, but for those that the service knows by another."""
    if kind != "customers":
        return column.name
    for meant, means in _MEANINGFUL.items():
        first = next(filter(means, look.columns.values()), None)
        if meant not in look.columns and column is first:
            return meant
    return column.name


def typed(
    column: ColumnProfile, look: FileProfile, kind: str, nulls: Collection[str]
) -> list[Setting]:
    """The declaration of a column that holds no timestamps; none where it is what it is.

    Args:
        column: The column.
        look: Its files.
        kind: Their kind.
        nulls: The texts that mean null.
    """
    name = attribute_name(column, look, kind)
    if column.holds_bytes:
        return [Setting(name, "string", "bytes in the file, read as text")]
    renamed: dict[str, Value] = {} if name == column.name else {"from": column.name}
    type_, fits = _type_of(column, look)
    left = sum(count for text, count in column.like_null.items() if text not in nulls)
    if type_ == "string" or name == "unsubscribed":
        return [Setting(name, renamed)] if renamed else []
    value: Value = {**renamed, "type": type_} if renamed else type_
    if fits == column.values and not left:
        return [Setting(name, value)]
    others = column.values - fits + left
    note = f"fits {fits:,} values; it would reject {counted(others, 'row')}"
    suggested = Setting(name, value, note, on=False)
    return [Setting(name, renamed), suggested] if renamed else [suggested]


def _type_of(column: ColumnProfile, look: FileProfile) -> tuple[str, int]:
    if look.format == "jsonl":
        return "string", column.values
    type_, fits = column.nearly()
    decimal, _ = decimal_mark(look)
    if type_ in ("number", "decimal comma"):
        is_of_mark = (type_ == "number") == (decimal == ".")
        return ("number", fits) if is_of_mark else ("string", column.values)
    return type_, fits


def decimal_mark(look: FileProfile) -> tuple[str, str]:
    """The decimal mark of the files' numbers, and what says so."""
    types = {each.name: each.type_of_text() for each in look.columns.values()}
    commas = [name for name, type_ in types.items() if type_ == "decimal comma"]
    points = [name for name, type_ in types.items() if type_ == "number"]
    if len(commas) > len(points):
        left = f"; not so {', '.join(points)}, sent as text" if points else ""
        return ",", f"in all values of {', '.join(commas)}{left}"
    left = f"; not so {', '.join(commas)}, sent as text" if commas else ""
    return ".", f"in all values of {', '.join(points)}{left}" if points else ""


def like_null(look: FileProfile) -> Counter[str]:
    """The texts that may mean null, and how often they stand."""
    found: Counter[str] = Counter()
    for each in look.columns.values():
        found.update(each.like_null)
    return found


def maybe_key(look: FileProfile, used: Sequence[ColumnProfile]) -> tuple[str, str]:
    """A column that may be what makes an event itself, and what speaks for it; empty: none."""
    for each in look.columns.values():
        if each in used or not each.distinct.count:
            continue
        if each.is_unique and each.values == look.rows and each.bytes_max <= _KEY_BYTES_MAX:
            return each.name, "if it is a key: different in every row"
        if names.says_key(each.name) and each.distinct.count >= _NEARLY_UNIQUE_MIN * each.values:
            return each.name, f"if it is a key; repeated: {each.distinct.repeated:,} values"
    return "", ""


def shared_emails(look: FileProfile, used: Sequence[ColumnProfile]) -> str:
    """How many e-mail addresses several people have, as far as columns tell by themselves."""
    if not used or not used[0].is_unique:
        return ""
    for each in look.columns.values():
        if names.says_email(each.name) and each not in used and each.lowered.repeated:
            return (
                f"{counted(each.lowered.repeated, 'address', 'addresses')} shared by several people"
            )
    return ""
