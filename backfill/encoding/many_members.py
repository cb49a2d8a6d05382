"""Rows that say much, or each something else, as JSON: their members behind one another.

A column for each name would be joined cell by cell: what that takes grows with rows times names,
and in calls. Here it grows with what is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.json_text import as_mask

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Said:
    """Values of many members behind one another, in one column.

    Args:
        places: int32, which row says each of the m, counted from 0; of shape (m,), or of (1, n)
            where n rows have the same k names, and m is k times n.
        names: int32, which name each has, of shape (m,) or (k, 1); no row says one name twice.
        text: string (m,), the JSON of each without its quotes; null where nothing is said.
        quoted: Whether quotes go around each.
    """

    places: Numbers
    names: Numbers
    text: pa.StringArray
    quoted: bool

    @property
    def each(self) -> tuple[Numbers, Numbers]:
        """The row and the name of each value, both of shape (m,)."""
        places, names = np.broadcast_arrays(self.places, self.names)
        return places.ravel(), names.ravel()


def written(names: Sequence[str], said: Sequence[Said], count: int) -> pa.StringArray:
    """The members of n rows, by row and name behind one another: `"a":1,"b":"x"`.

    Every row is a list of pieces, an opening and a value for each member, which Arrow joins: what
    it takes grows with what is said, not with calls for each name.

    Args:
        names: The k names, in the order in which they are written.
        said: What is said, each a number of a name.
        count: How many rows there are.
    """
    quoted = np.zeros(len(names), np.bool_)
    for each in said:
        quoted[each.names] = each.quoted
    values, ranks, counts = _in_order(said, count, len(names))
    texts, openings = [each.text for each in said], _openings(names)
    first_opening = sum(map(len, texts))
    first_closing = first_opening + len(openings)
    # Behind a value come its closing quote and a comma: they stand before the next opening.
    own = first_opening + quoted * len(names) + np.arange(len(names))
    opening = own[ranks]
    opening[1:] += (2 * len(names) * (1 + quoted))[ranks[:-1]]
    ends = np.cumsum(counts)
    begins = (ends - counts)[counts > 0]
    opening[begins] = own[ranks[begins]]
    pieces = np.full(2 * len(ranks) + count, first_closing, np.int32)
    at = 2 * np.arange(len(ranks)) + np.repeat(np.arange(count), counts)
    pieces[at] = opening
    pieces[at + 1] = values
    rows = np.flatnonzero(counts)
    pieces[2 * ends[rows] + rows] += quoted[ranks[ends[rows] - 1]]
    offsets = np.append(0, 2 * ends + np.arange(count) + 1).astype(np.int32)
    every = pa.concat_arrays([*texts, openings, pa.array(["", '"'])])
    lists = pa.ListArray.from_arrays(pa.array(offsets), every.take(pa.array(pieces)))
    return pc.binary_join(lists, "")


def _in_order(
    said: Sequence[Said], rows: int, names: int
) -> tuple[Numbers, Numbers, npt.NDArray[np.int64]]:
    """The values that are there, by row, and by name within a row.

    Returns:
        Where each of the m stands among all that is said, (m,); the number of its name, (m,); and
        how many each row has, (rows,).
    """
    there = np.concatenate([as_mask(each.text.is_valid()) for each in said])
    keys = np.concatenate([(each.places * np.int64(names) + each.names).ravel() for each in said])
    values = np.arange(len(keys), dtype=np.int32)
    if rows * names <= 4 * len(keys):  # a place for each costs less than to sort them
        table = np.full(rows * names, -1, np.int32)
        table[keys] = np.where(there, values, -1)
        keys = np.flatnonzero(table >= 0)
        values = table[keys]
    else:
        keys, values = keys[there], values[there]
        order = np.argsort(keys, kind="stable")
        keys, values = keys[order], values[order]
    places, ranks = np.divmod(keys, names)
    return values, ranks.astype(np.int32), np.bincount(places, minlength=rows)


def _openings(names: Sequence[str]) -> pa.StringArray:
    """What can stand before a value of each of k names, 6 k texts.

    By what came before (nothing, a value, a value in quotes), then by whether the value is in
    quotes itself, then by name.
    """
    keys = pa.array([orjson.dumps(each).decode() for each in names], pa.string())
    return pa.concat_arrays(
        [
            pc.binary_join_element_wise(before, keys, f":{quote}", "")
            for before in ("", ",", '",')
            for quote in ("", '"')
        ]
    )
