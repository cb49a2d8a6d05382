"""Which column becomes what: a source's settings held against the columns that a file has."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from backfill.encoding.column_names import is_made, used_up
from backfill.encoding.typed_json import is_bytes, is_json, plain_type, refusal_of, unsendable
from backfill.errors import UsageError
from backfill.pipeline.column_settings import Column, Dated, FromColumn, is_consent
from backfill.pipeline.source_settings import (
    AnyIdentifier,
    EventsSource,
    MergesSource,
    RelationshipsSource,
    Source,
)
from backfill.sources.interface import Location

_NULL = "__HIVE_DEFAULT_PARTITION__"

RESERVED_IN_EVENTS = ("recipient", "from_address", "reply_to", "cio_id", "anonymous_id", "_update")
"""Data keys that change what a campaign does with an event, or whom it is about (Track docs)."""

RESERVED_IN_PEOPLE = ("cio_id", "anonymous_id")

RESERVED_IN_OBJECTS = ("object_id", "objectId", "object_type_id", "cio_object_id", "relationship")
"""Names that mean something else to objects and relationships (docs, "Reserved attributes")."""

ATTRIBUTE_NAME_BYTES_MAX = 150
VALUE_BYTES_MAX = 1000
ATTRIBUTES_MAX = 300
"""Limits of the Track API, in bytes of UTF-8 (Track OpenAPI)."""

NEAR_LIMIT = 0.9
"""From this share of a limit on, people are warned: the next export may be beyond it."""

_CONSENT = Column(type="boolean")
_JSON = Column(type="json")

_COLUMNS_SHOWN = 20


def partitions_of(path: Location, base: Path) -> dict[str, str]:
    """The columns that the names of the folders declare: `day=2024-01-31/x.parquet`.

    As Hive writes them: percent-encoded, always text. Only folders below `base` count; of an object
    all that it lies in.

    >>> partitions_of(Path("in/day=2024-01-31/shop=A%2FB/x.parquet"), Path("in"))
    {'day': '2024-01-31', 'shop': 'A/B'}
    """
    if isinstance(path, Path):
        return dict(_named(Path(os.path.relpath(path, base)).parent.parts))
    return dict(_named(path.folders))


def _named(folders: Collection[str]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        name, equals, value = folder.partition("=")
        # Other folders are no columns; Hive has none without an equals sign.
        if name and equals:
            yield unquote(name), unquote(value)


@dataclass(frozen=True, slots=True)
class PartitionColumns:
    """The columns that each row of a file has from the folders: one value for all rows.

    Args:
        values: The text by column; None where Hive says that there is no value.
    """

    values: Mapping[str, str | None]

    @classmethod
    def of(cls, partitions: Mapping[str, str], names: Collection[str]) -> "PartitionColumns":
        """Those of the folders that the file does not have itself.

        Args:
            partitions: The columns of the folders, as `partitions_of` gives them.
            names: The file's own columns. What the file says of a row counts, not the folder:
                Spark leaves such a column out of the file, other writers keep it.
        """
        return cls(
            {
                name: None if value == _NULL else value
                for name, value in partitions.items()
                if name not in names
            }
        )

    def wanted(self, columns: Collection[str] | None) -> dict[str, str | None]:
        """The values of these columns; of all, if None."""
        return {
            name: value for name, value in self.values.items() if columns is None or name in columns
        }

    def added_to(
        self, batch: pa.RecordBatch, row_count: int, columns: Collection[str] | None
    ) -> pa.RecordBatch:
        """The batch and a string column of length `row_count` for each wanted value.

        Args:
            batch: The columns of the file, of length `row_count`.
            row_count: A batch without columns does not know its rows.
            columns: Which columns are wanted; all, if None.
        """
        values = self.wanted(columns)
        if not values:
            return batch
        arrays = [pa.repeat(pa.scalar(value, pa.string()), row_count) for value in values.values()]
        names = [*batch.schema.names, *values]
        return pa.RecordBatch.from_arrays([*batch.columns, *arrays], names=names)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: its name, the column it comes from, its declared type where it has one."""

    name: str
    column: str
    declared: Column | None


@dataclass(frozen=True, slots=True)
class Layout:
    """What each column of a file is used for.

    Args:
        attributes: What is sent, sorted by name.
        identifier: The declared type of the identifier's column, where it has one.
        target: The same of what else the rows name.
        reserved: The attributes whose names change what the service does.
    """

    attributes: tuple[Attribute, ...]
    identifier: Column | None
    reserved: tuple[str, ...]
    target: Column | None = None


@dataclass(frozen=True, slots=True)
class AttributeNames:
    """What a chunk's attributes are called.

    Args:
        all: Every attribute.
        reserved: Those whose names change what the service does.
        long: Those whose values come near their limit, or beyond it.
        odd_timestamps: Those that hold timestamps before 1970 or in the future.
        implausible: Those that hold numbers which can hardly be unix seconds.
        texts: Those that the service reads as timestamps, and that hold text.
        columns: The chunk's own columns, and those made of them.
        null_words: Not names: the words for nothing that stand where people are named.
        odd_emails: Those that should hold e-mail addresses, and hold others too.
        consent_words: Those that hold words such as `unsubscribed`.
        text_marks: Not names: what marks identifiers as text, for spreadsheets.
    """

    all: frozenset[str] = frozenset()
    reserved: frozenset[str] = frozenset()
    long: frozenset[str] = frozenset()
    odd_timestamps: frozenset[str] = frozenset()
    implausible: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()
    null_words: frozenset[str] = frozenset()
    text_marks: frozenset[str] = frozenset()
    odd_emails: frozenset[str] = frozenset()
    consent_words: frozenset[str] = frozenset()

    def __or__(self, other: "AttributeNames") -> "AttributeNames":
        every = (each.name for each in fields(self))
        return AttributeNames(*(getattr(self, each) | getattr(other, each) for each in every))


_RESERVED: Mapping[str, tuple[str, ...]] = {
    "events": RESERVED_IN_EVENTS,
    "objects": RESERVED_IN_OBJECTS,
    "relationships": RESERVED_IN_OBJECTS,
}


def is_reserved(name: str, kind: str) -> bool:
    """Whether an attribute of this name is more than data to the service."""
    return name in _RESERVED.get(kind, RESERVED_IN_PEOPLE) or name.startswith("_")


def layout_of(
    source: Source, columns: Sequence[str], types: Mapping[str, pa.DataType], where: str
) -> Layout:
    """Resolve a source's settings against a file's columns.

    Args:
        source: The settings.
        columns: The columns that the file, or a chunk of it, has.
        types: The types of those that have one of their own (Parquet).
        where: The file, for messages.

    Raises:
        UsageError: A column is missing, would be sent under a name that is taken, is not
            declared where it must be, or has a type that cannot be sent.
    """
    taken = _taken(source, columns)
    declared = source.declared()
    attributes = [
        Attribute(name, column.from_ or name, column)
        for name, column in declared.items()
        if not (name == column.from_ and name in taken)
    ]
    used = taken | {each.column for each in attributes}
    attributes += _others(source, columns, types, used, where)
    _refuse_twins(attributes, {**source.constants(), **source.mark}, where)
    _refuse_types(source, attributes, types, where)
    names = [each.name for each in attributes]
    reserved = tuple(sorted(name for name in names if is_reserved(name, source.kind)))
    if source.reserved == "drop":
        attributes = [each for each in attributes if each.name not in reserved]
    return Layout(
        # Columns may come in another order each night; what is sent of a row must not.
        attributes=tuple(sorted(attributes, key=lambda each: each.name)),
        identifier=declared.get(source.identifier.column),
        reserved=reserved,
        target=None if source.target is None else declared.get(source.target.column),
    )


def require_columns(
    source: Source,
    columns: Sequence[str],
    where: str,
    line_of: Callable[[str], int | None] = lambda _: None,
) -> None:
    """Refuse a header that lacks a column which the settings name.

    Args:
        source: The settings.
        columns: The columns that the file has.
        where: The file, for the message.
        line_of: The line in which a name stands as a cell, where that may be the true header.

    Raises:
        UsageError: With the nearest names that the file has.
    """
    lenient, there = source.missing_columns == "null", frozenset(columns)
    for key, name in named_columns(source):
        is_declared = key.startswith(("columns.", "required"))
        # Data may be missing, but never whom a row is about, what happened, or when.
        if name in there or (lenient and is_declared):
            continue
        # A typing mistake is the most likely reason, and a wrong delimiter the next.
        near = get_close_matches(name, columns, 3, 0.5)
        has = f"did you mean {' or '.join(near)}?" if near else f"it has {_some(columns)}"
        step = f"correct {key} in the pipeline file, or the file's header"
        if is_declared and not near:
            step += '; missing_columns = "null" lets files lack it'
        if (line := line_of(name)) is not None:
            has, step = f"it is in line {line}", f"set the source's `skip_lines` to {line - 1}"
        elif len(columns) == 1 and name in re.split(r"\W", columns[0]):
            step = "set the source's `delimiter`: the whole header was read as one column"
        raise UsageError(
            f"{where}: column {name!r} is missing, which {key} names; {has}", next_step=step
        )


def _some(columns: Sequence[str]) -> str:
    """The first columns of a file, and how many more there are."""
    left = len(columns) - _COLUMNS_SHOWN
    return ", ".join(columns[:_COLUMNS_SHOWN]) + (f" and {left:,} more" if left > 0 else "")


def named_columns(source: Source) -> list[tuple[str, str]]:
    """The settings that name a column, each with the column."""
    named = [(key, each.column) for key, each in identifiers_of(source)]
    if isinstance(source, EventsSource):
        if isinstance(source.name, FromColumn):
            named.append(("name", source.name.from_))
        named.append(("timestamp", source.timestamp.from_))
        named += [("key", column) for column in source.key]
    declared = source.declared()
    named += [(f"columns.{name}", column.from_ or name) for name, column in declared.items()]
    named += [(f"{key}.timezone", each) for key, each in _zone_columns(source)]
    named += [(f"where.{name}", name) for name in source.where]
    named += [("drop", name) for name in source.drop]
    named += [
        ("required", name)
        for name in source.required
        if name not in declared and name not in dict(named).values()
    ]
    return named


def identifiers_of(source: Source) -> list[tuple[str, AnyIdentifier]]:
    """What names whom and what a row is about, each with the setting that names its column."""
    if isinstance(source, MergesSource):
        return [("secondary", source.secondary), ("primary", source.primary)]
    found: list[tuple[str, AnyIdentifier]] = [("identifier", source.identifier)]
    if isinstance(source, RelationshipsSource):
        found.append(("object", source.object))
    return found


def _taken(source: Source, columns: Sequence[str]) -> set[str]:
    """The columns that are used up: they are not sent again under their own name."""
    names = [each.column for _, each in identifiers_of(source)]
    names += [*source.drop, *(each for _, each in _zone_columns(source))]
    if isinstance(source, EventsSource):
        names.append(source.timestamp.from_)
        if isinstance(source.name, FromColumn):
            names.append(source.name.from_)
    declared = (each.from_ or name for name, each in source.declared().items())
    parts = (part for name in declared if is_made(name) for part in used_up(name, columns))
    return {*names, *parts, *(part for name in names for part in used_up(name, columns))}


def _zone_columns(source: Source) -> list[tuple[str, str]]:
    """The columns that have the zones of timestamps, each with the setting that names it."""
    dated: list[tuple[str, Dated]] = [
        (f"columns.{name}", column) for name, column in source.declared().items()
    ]
    if isinstance(source, EventsSource):
        dated.append(("timestamp", source.timestamp))
    return [(key, each.timezone_column) for key, each in dated if each.timezone_column]


def _judged_as(source: Source, name: str, found: Column | None) -> Column | None:
    """Consent of people is a boolean: any other value would unsubscribe nobody."""
    return _CONSENT if source.kind == "customers" and is_consent(name) else found


def _others(
    source: Source,
    columns: Sequence[str],
    types: Mapping[str, pa.DataType],
    used: set[str],
    where: str,
) -> list[Attribute]:
    if source.removes:
        return []
    keys = set(source.key) if isinstance(source, EventsSource) else set()
    others = [column for column in columns if column not in used]
    undeclared = [column for column in others if column not in keys]
    if undeclared and source.other_columns == "error":
        raise UsageError(
            f'{where}: other_columns = "error", and these columns are not declared:'
            f" {_some(undeclared)}",
            next_step='declare them in [source.columns], or set other_columns to "keep" or "drop"',
        )
    # A key is part of what its event says, also where all other columns are dropped.
    kept = others if source.other_columns == "keep" else keys.intersection(others)
    as_json = {column for column in kept if is_json(types.get(column))}
    return [
        Attribute(column, column, _judged_as(source, column, _JSON if column in as_json else None))
        for column in kept
    ]


def _refuse_twins(attributes: Sequence[Attribute], constants: Collection[str], where: str) -> None:
    seen: dict[str, Attribute] = {}
    for each in attributes:
        if each.name in constants:
            raise UsageError(
                f"{where}: column {each.column!r} would be sent as {each.name!r}, of which the"
                " settings say what every row has",
                next_step="declare the column under another name in [source.columns], choose"
                ' another name for the constant, or set other_columns = "drop"',
            )
        twin = seen.setdefault(each.name, each)
        if twin is not each:
            raise UsageError(
                f"{where}: the columns {twin.column!r} and {each.column!r} would both be sent as"
                f" {each.name!r}",
                next_step="declare one of them under another name in [source.columns],"
                ' or set other_columns = "drop"',
            )


def _refusal(type_: pa.DataType, declared: Column | None) -> str | None:
    """Why a typed column cannot be sent as it is declared; None where it can."""
    if declared is None:
        return refusal_of(type_)
    if unknown := unsendable(type_):
        return unknown
    is_dated = declared.type in ("timestamp", "date")
    if pa.types.is_temporal(type_) and not pa.types.is_time(type_) and not is_dated:
        return f"it holds timestamps and is declared {declared.type!r}"
    if pa.types.is_nested(type_) and is_dated:
        return f'it holds objects or lists and is declared {declared.type!r}; declare it "json"'
    return None


def _refuse_types(
    source: Source,
    attributes: Sequence[Attribute],
    types: Mapping[str, pa.DataType],
    where: str,
) -> None:
    for each in attributes:
        type_ = types.get(each.column)
        if type_ is None:
            continue
        if refusal := _refusal(type_, each.declared):
            step = f"declare {each.name!r} under [source.columns] of the pipeline file"
            if unsendable(type_):
                step = 'change it in a transform, or leave it out: other_columns = "drop"'
            raise UsageError(
                f"{where}: column {each.column!r} cannot be sent as it is: {refusal}",
                next_step=step,
            )
    for _, identifier in identifiers_of(source):
        if (type_ := types.get(identifier.column)) is not None:
            _refuse_identifier(source, identifier.column, plain_type(type_), where)


def _refuse_identifier(source: Source, column: str, type_: pa.DataType, where: str) -> None:
    """Refuse a column whose values name nobody, or name somebody in several ways.

    Raises:
        UsageError: With what it holds.
    """
    if column in source.declared():
        return
    is_decimal = pa.types.is_decimal(type_) and type_.scale > 0
    if pa.types.is_floating(type_) or is_decimal:
        raise float_identifier(where, column)
    holds = None
    if pa.types.is_nested(type_):
        holds = "objects or lists"
    elif pa.types.is_boolean(type_) or pa.types.is_temporal(type_):
        holds = "true and false" if pa.types.is_boolean(type_) else "dates or times"
    elif is_bytes(type_):
        holds = "bytes"
    if holds:
        raise UsageError(
            f"{where}: the identifier {column!r} holds {holds}, which name nobody",
            next_step="name the column that says whom a row is about; a member of an object is"
            f' named as "{column}.MEMBER"; bytes that are text are declared: "string"',
        )


def float_identifier(where: str, column: str) -> UsageError:
    """The refusal of identifiers that are written as floating-point numbers."""
    return UsageError(
        f"{where}: the identifier {column!r} holds floating-point numbers, such as 42.0 or 1.2E+15:"
        " the same person has another id in other files, and digits may be lost",
        next_step=f'export them as text, or declare {column} = "integer" under [source.columns]'
        " where they are whole numbers",
    )
