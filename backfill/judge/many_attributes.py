"""Many attributes at once: those of one type as one long column, where a call for each costs more.

What needs nothing but its JSON can be written so: a value takes longer, a column nearly nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.json_text import Encoded, Mask, as_mask
from backfill.encoding.many_members import Numbers, Said, written
from backfill.encoding.typed_json import plain
from backfill.operations.encode import Member
from backfill.rows import Chunk, Rows
from backfill.sources.layout import ATTRIBUTE_NAME_BYTES_MAX, NEAR_LIMIT, Attribute


@dataclass(slots=True)
class Together:
    """What was written together.

    Args:
        names: The attributes, each with a number.
        said: Their values.
        done: Their columns, each with its faults, as `RowFaults` takes them.
        long: Those of them whose values come near their limit, or beyond it.
    """

    names: dict[str, int] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    done: dict[str, list[tuple[str, Mask]]] = field(default_factory=dict)
    long: set[str] = field(default_factory=set)

    def present(self, count: int) -> Rows:
        """How many attributes each of n rows has, int64 (n,)."""
        found = np.zeros(count, np.int64)
        for each in self.said:
            found += np.bincount(each.each[0][as_mask(each.text.is_valid())], minlength=count)
        return found

    def written(self, members: Mapping[str, Member], count: int) -> pa.StringArray:
        """All members of n rows as text, those that were written one by one among them."""
        numbers = {**self.names}
        for name in members:
            numbers.setdefault(name, len(numbers))
        order = sorted(numbers)
        rank = np.empty(len(numbers), np.int32)
        rank[[numbers[name] for name in order]] = np.arange(len(order))
        every = [replace(each, names=rank[each.names]) for each in self.said]
        places = np.arange(count, dtype=np.int32)[None, :]
        for name, each in members.items():
            number = rank[[[numbers[name]]]]
            every.append(Said(places, number, each.value, bool(each.closing)))
        return written(order, every, count)


def together(
    chunk: Chunk,
    attributes: Sequence[Attribute],
    encoded: Callable[[pa.Array], Encoded],
    size_max: int | None,
) -> Together:
    """Write some attributes of a chunk together.

    Args:
        chunk: n rows.
        attributes: What is written, of columns of their own.
        encoded: Writes a column.
        size_max: How many bytes a value may have; None: there is no limit.
    """
    found = Together()
    number_of = {each.column: number for number, each in enumerate(attributes)}
    for numbers, places, column in _long_columns(chunk, number_of):
        values = encoded(column)
        said = Said(places, numbers, values.text, values.quoted)
        found.said.append(said)
        for number in np.unique(numbers).tolist():
            found.names[attributes[number].name] = number
            found.done.setdefault(attributes[number].column, [])
        for number, code, mask in _wrong(attributes, said, values, size_max, found.long):
            each_place, each_number = said.each
            rows = np.zeros(len(chunk.rows), np.bool_)
            rows[each_place[mask & (each_number == number)]] = True
            found.done[attributes[number].column].append((code, rows))
    # Numbers of names that no row has would be gaps.
    return _numbered_anew(found)


def _numbered_anew(found: Together) -> Together:
    new = np.zeros(max(found.names.values(), default=0) + 1, np.int32)
    new[list(found.names.values())] = np.arange(len(found.names))
    found.said = [replace(each, names=new[each.names]) for each in found.said]
    found.names = {name: int(new[number]) for name, number in found.names.items()}
    return found


def _wrong(
    attributes: Sequence[Attribute],
    said: Said,
    values: Encoded,
    size_max: int | None,
    long: set[str],
) -> Iterator[tuple[int, str, Mask]]:
    """What is wrong with values, in the order in which it would be found one by one.

    Returns:
        An attribute, by its number; a code; and a mask of all values, among which those of other
        attributes do not count. Attributes near the limit are added to `long`.
    """
    numbers = said.each[1]
    for code, mask in values.failures.items():
        yield from ((number, code, mask) for number in np.unique(numbers[mask]).tolist())
    size = values.size_bytes
    if size_max and size is not None and (pc.max(size).as_py() or 0) >= NEAR_LIMIT * size_max:
        near = as_mask(pc.greater_equal(size, NEAR_LIMIT * size_max))
        long.update(attributes[number].name for number in np.unique(numbers[near]).tolist())
        over = as_mask(pc.greater(size, size_max))
        for number in np.unique(numbers[over]).tolist():
            yield number, "value_too_long", over
    for number in np.unique(said.names).tolist():
        if len(attributes[number].name.encode()) > ATTRIBUTE_NAME_BYTES_MAX:
            yield number, "attribute_name_too_long", as_mask(pc.is_valid(said.text))


def _long_columns(
    chunk: Chunk, wanted: Mapping[str, int]
) -> Iterator[tuple[Numbers, Numbers, pa.Array]]:
    """Columns of a chunk behind one another, all of one type as one.

    Args:
        chunk: n rows.
        wanted: Its columns, each with the number that stands for it.

    Returns:
        The number of each cell's column and the place of its row, as `Said` has them; the cells.
    """
    by_type: dict[pa.DataType, list[tuple[int, pa.Array]]] = defaultdict(list)
    for field_, column in zip(chunk.batch.schema, chunk.batch.columns, strict=True):
        if (number := wanted.get(field_.name)) is not None:
            unwrapped = plain(column)
            by_type[unwrapped.type].append((number, unwrapped))
    places = np.arange(len(chunk.rows), dtype=np.int32)[None, :]
    for some in by_type.values():
        numbers = np.array([number for number, _ in some], np.int32)[:, None]
        yield numbers, places, pa.concat_arrays([column for _, column in some])
    if (sparse := chunk.sparse) is not None:
        of_column = np.array([wanted.get(name, -1) for name in sparse.names], np.int32)
        each = of_column[sparse.columns]
        here = each >= 0
        at = sparse.places[here].astype(np.int32)
        yield each[here], at, sparse.cells.filter(pa.array(here))
