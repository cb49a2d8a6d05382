"""Columns that settings name and no file has: members of an object, several columns joined.

Where no column has the name, `a.b` is the member `b` of the object or struct `a`, at any depth,
and `a + b` the texts of `a` and `b`, joined by a space.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import json_text
from backfill.encoding.cell_json import Cells, column_of
from backfill.encoding.json_text import Mask
from backfill.encoding.typed_json import plain
from backfill.pipeline.column_settings import JOINED_BY
from backfill.rows import Chunk

_WRAPPERS = {"$oid", "$date", "$uuid", "$symbol", "$timestamp"} | {
    f"$number{each}" for each in ("Int", "Long", "Double", "Decimal")
}
"""What MongoDB's Extended JSON calls the only member of an object around a value: `{"$oid": …}`.
Other names may begin so as well, such as the properties of Mixpanel's events."""
_MADE = {b"made": b"of other columns"}
_OBJECTS_SEEN = 100


def is_made(name: str) -> bool:
    """Whether a name can be that of a column which is made of others."""
    return "." in name or JOINED_BY in name


def made_of(name: str) -> set[str]:
    """The columns that a name may be made of; more than it is, where a dot may be part of one."""
    if JOINED_BY in name:
        return {each for part in name.split(JOINED_BY) for each in {part, *made_of(part)}}
    places = (at for at, letter in enumerate(name) if letter == ".")
    return {name[:at] for at in places if at}


def used_up(name: str, columns: Collection[str]) -> set[str]:
    """The columns that say no more than one that is made of them, so that they are not sent.

    Columns that are joined; and an object around a value, as MongoDB writes them: `{"$oid": …}`.
    """
    if name in columns:
        return {name}
    if JOINED_BY in name:
        return {each for part in name.split(JOINED_BY) for each in used_up(part, columns)}
    root, _, member = name.partition(".$")
    return {root} if f"${member.partition('.')[0]}" in _WRAPPERS else set()


def meaning(name: str) -> str:
    """The part of a name that says what it holds: of a member its own, of one in a wrapper not.

    >>> meaning("properties.$user_id"), meaning("_id.$oid"), meaning("at.$date.$numberLong")
    ('$user_id', '_id', 'at')
    """
    *around, last = name.split(".")
    return meaning(".".join(around)) if around and last in _WRAPPERS else last


def plain_name(name: str) -> str:
    """A name in lower case, its words parted by `_`.

    >>> plain_name("Customer ID"), plain_name("occurredAt"), plain_name("E-Mail")
    ('customer_id', 'occurred_at', 'e_mail')
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"\W+|_+", "_", parted).strip("_").lower()


def can_be_made(name: str, schema: pa.Schema) -> bool:
    """Whether a file with these columns has all that a name is made of."""
    if name in schema.names:
        return True
    if JOINED_BY in name:
        return all(can_be_made(part, schema) for part in name.split(JOINED_BY))
    return any(
        root in schema.names and _has_member(schema.field(root).type, name[len(root) + 1 :])
        for root in made_of(name)
    )


def _has_member(type_: pa.DataType, path: str) -> bool:
    if not pa.types.is_struct(type_):
        return False
    names = {type_.field(place).name: type_.field(place).type for place in range(type_.num_fields)}
    return path in names or any(
        _has_member(names[each], path[len(each) + 1 :]) for each in made_of(path) if each in names
    )


def members_in(chunk: Chunk, column: str) -> list[str]:
    """The names of the members of a column's objects, at any depth, as far as its first rows tell.

    Args:
        chunk: n rows.
        column: One of its columns.
    """
    values = plain(chunk.batch.column(column))
    if pa.types.is_struct(values.type):
        return [f"{column}.{each}" for each in _paths_of_type(values.type)]
    if chunk.values != "json" or not pa.types.is_string(values.type):
        return []
    found: dict[str, None] = {}
    for fragment in values.drop_null()[:_OBJECTS_SEEN].to_pylist():
        if fragment.startswith("{"):
            found.update(dict.fromkeys(_paths(json_text.load_json(fragment))))
    return [f"{column}.{each}" for each in found]


def _paths_of_type(type_: pa.DataType) -> Iterator[str]:
    if pa.types.is_struct(type_):
        for place in range(type_.num_fields):
            member = type_.field(place)
            yield member.name
            yield from (f"{member.name}.{each}" for each in _paths_of_type(member.type))


def _paths(value: Any) -> Iterator[str]:
    for name, member in value.items() if isinstance(value, dict) else ():
        yield name
        yield from (f"{name}.{each}" for each in _paths(member))


def with_made(chunk: Chunk, names: Iterable[str]) -> Chunk:
    """The chunk with those of the named columns that it does not have and that can be made.

    Args:
        chunk: n rows.
        names: Names of columns.

    Returns:
        The same n rows; a column that is made of JSON holds JSON, one of texts is text.
    """
    batch = chunk.batch
    for name in dict.fromkeys(names):  # two settings may read one column
        if is_made(name) and column_of(chunk, name) is None:
            column = _made(chunk, name)
            if column is not None:
                batch = batch.append_column(pa.field(name, column.type, metadata=_MADE), column)
    return chunk if batch is chunk.batch else replace(chunk, batch=batch)


def lost_in(chunk: Chunk) -> Iterator[tuple[str, Mask]]:
    """The rows whose value would vanish, by a made column that stands in its place.

    `at.$date.$numberLong` is sent instead of `at`, and another line may have a text in `at.$date`.

    Args:
        chunk: n rows of JSON, with the columns that are made.
    """
    own = own_names(chunk.batch.schema)
    made_from: dict[str, list[str]] = {}
    for name in (each for each in chunk.batch.schema.names if each not in own):
        for root in used_up(name, own):
            made_from.setdefault(root, []).append(name)
    for root, names in made_from.items():
        if JOINED_BY in names[0] or (column := column_of(chunk, root)) is None:
            continue
        says = json_text.as_mask(pc.not_equal(column, "null"))
        for name in names:
            says = says & json_text.as_mask(pc.is_null(chunk.batch.column(name)))
        yield names[0], says


def own_names(schema: pa.Schema) -> list[str]:
    """The columns that were not made of others."""
    return [each.name for each in schema if each.metadata is None or b"made" not in each.metadata]


def _made(chunk: Chunk, name: str) -> pa.Array | None:
    """A column of length n by its name; None where it cannot be made."""
    if (there := column_of(chunk, name)) is not None:
        return there
    if JOINED_BY in name:
        parts = [_made(chunk, part) for part in name.split(JOINED_BY)]
        return None if any(part is None for part in parts) else _joined(chunk, parts)
    # The longest first: a column may have a dot in its own name.
    for root in sorted(made_of(name), key=len, reverse=True):
        if (column := column_of(chunk, root)) is not None:
            path = name[len(root) + 1 :]
            if chunk.values == "json" and pa.types.is_string(column.type):
                return _json_members(column, path)
            if (member := _struct_member(plain(column), path)) is not None:
                return member
    return None


def _joined(chunk: Chunk, parts: list[pa.Array]) -> pa.StringArray:
    """The texts of n rows of several columns; null where all are, or hold blanks only."""
    texts = []
    for each in parts:
        text = pc.utf8_trim_whitespace(Cells.of_column(each, chunk.values).text().text)
        texts.append(json_text.null_where(text, [""]))
    joined = texts[0]
    for text in texts[1:]:  # Arrow's own null_handling="skip" drops rows that are null in all
        joined = pc.coalesce(pc.binary_join_element_wise(joined, text, " "), joined, text)
    return json_text.strings(joined).fragments() if chunk.values == "json" else joined


def _struct_member(column: pa.Array, path: str) -> pa.Array | None:
    """A member of n structs, null where the struct is; None where they have no such member."""
    if not pa.types.is_struct(column.type):
        return None
    names = [column.type.field(place).name for place in range(column.type.num_fields)]
    # As above: a member whose own name has a dot comes before one further down.
    for each in (path, *sorted(made_of(path), key=len, reverse=True)):
        if each in names:
            member = pc.struct_field(column, [names.index(each)])
            return member if each == path else _struct_member(plain(member), path[len(each) + 1 :])
    return None


def _json_members(column: pa.StringArray, path: str) -> pa.StringArray:
    """A member of n JSON objects as JSON; null where there is none, or no object."""
    found: list[str | None] = []
    for fragment in column.to_pylist():
        is_object = fragment is not None and fragment.startswith("{")
        # A row at a time: only for the columns that settings name by a path into JSON.
        members = _member(json_text.load_json(fragment), path) if is_object else []
        found.append(json_text.canonical_json(members[0]) if members else None)
    return pa.array(found, pa.string())


def _member(value: Any, path: str) -> list[Any]:
    """The member of an object, which may be None; empty where there is none."""
    if not isinstance(value, dict):
        return []
    if path in value:
        return [value[path]]
    nearest = sorted(made_of(path), key=len, reverse=True)
    inner = next((each for each in nearest if each in value), None)
    return [] if inner is None else _member(value[inner], path[len(inner) + 1 :])
