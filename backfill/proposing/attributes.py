"""The declared attributes of a source: types, moments, names that mean something."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from backfill.proposing import names
from backfill.proposing.columns import ColumnLook
from backfill.proposing.looks import Look
from backfill.proposing.moments import Moments
from backfill.proposing.questions import Ask, Question
from backfill.proposing.settings import Setting, Value
from backfill.report.tables import counted

_MEANINGFUL = ("email", "unsubscribed")
"""Attributes that the service acts on, in this spelling only (Track docs); `created_at` is one
too, and recognised by more than its spelling."""

_NEARLY_UNIQUE_MIN = 0.95


@dataclass(slots=True)
class Written:
    """How moments are written: what stands in the inline table, and why."""

    value: dict[str, Value]
    note: str


def written(file: str, column: str, moments: Moments, ask: Ask) -> Written:
    """The format of a column of moments; where two fit, a person is asked."""
    if moments.rivals:
        question = f"{file}: {column}: {moments.evidence}; which one?"
        if answer := ask(Question(question, "", moments.rivals)):
            return Written({"format": answer}, "as you said")
        note = f"{moments.evidence}; until a format is set here, a run refuses to send"
        return Written({}, note)
    if moments.format is None:
        return Written({}, moments.evidence)
    return Written({"format": moments.format}, moments.evidence)


def attribute_name(column: ColumnLook, look: Look, kind: str) -> str:
    """What a column is sent as: its own name, but for those that the service knows by another."""
    if kind != "customers":
        return column.name
    created = (
        each.name
        for each in look.columns.values()
        if names.says_created(each.name) and each.moments() is not None
    )
    if "created_at" not in look.columns and column.name == next(created, None):
        return "created_at"
    meant = "email" if names.says_email(column.name) else names.plain(column.name)
    if meant in _MEANINGFUL and meant not in look.columns:
        first = next(each for each in look.columns if _means(each, meant))
        return meant if first == column.name else column.name
    return column.name


def _means(name: str, meant: str) -> bool:
    return names.plain(name) == meant or (meant == "email" and names.says_email(name))


def typed(column: ColumnLook, look: Look, kind: str, nulls: Collection[str]) -> list[Setting]:
    """The declaration of a column that holds no moments; none where it is what it is.

    Args:
        column: The column.
        look: Its files.
        kind: Their kind.
        nulls: The texts that mean null.
    """
    name = attribute_name(column, look, kind)
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


def _type_of(column: ColumnLook, look: Look) -> tuple[str, int]:
    if look.format == "jsonl":
        return "string", column.values
    type_, fits = column.nearly()
    decimal, _ = decimal_mark(look)
    if type_ in ("number", "decimal comma"):
        is_of_mark = (type_ == "number") == (decimal == ".")
        return ("number", fits) if is_of_mark else ("string", column.values)
    return type_, fits


def decimal_mark(look: Look) -> tuple[str, str]:
    """The decimal mark of the files' numbers, and what says so."""
    types = {each.name: each.type_of_text() for each in look.columns.values()}
    commas = [name for name, type_ in types.items() if type_ == "decimal comma"]
    points = [name for name, type_ in types.items() if type_ == "number"]
    if len(commas) > len(points):
        left = f"; not so {', '.join(points)}, sent as text" if points else ""
        return ",", f"in all values of {', '.join(commas)}{left}"
    left = f"; not so {', '.join(commas)}, sent as text" if commas else ""
    return ".", f"in all values of {', '.join(points)}{left}" if points else ""


def like_null(look: Look) -> Counter[str]:
    """The texts that may mean null, and how often they stand."""
    found: Counter[str] = Counter()
    for each in look.columns.values():
        found.update(each.like_null)
    return found


def nearly_unique(look: Look, used: Sequence[ColumnLook]) -> ColumnLook | None:
    """A column that would be a key, did not some of its values repeat."""
    for each in look.columns.values():
        share = each.distinct.count / each.values if each.values else 0
        if each not in used and names.says_key(each.name) and share >= _NEARLY_UNIQUE_MIN:
            return each
    return None


def shared_emails(look: Look, used: Sequence[ColumnLook]) -> str:
    """How many e-mail addresses several people have, as far as columns tell by themselves."""
    if not used or not used[0].is_unique:
        return ""
    for each in look.columns.values():
        if names.says_email(each.name) and each not in used and each.lowered.repeated:
            return f"{counted(each.lowered.repeated, 'address', 'addresses')} of several people"
    return ""
