"""JSON put together a column at a time: what all rows share as text, what differs as columns.

A part costs as much as its bytes, whoever joins it, and so does joining again what was joined
before: each row is written in one go where that can be done.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, groupby
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.values import as_mask

Parts = list[str | pa.StringArray]
"""What each row's text is put together from: text that all share, columns of their own."""


def join(parts: Parts) -> pa.StringArray:
    """The parts of each row behind one another; null where one is."""
    merged: Parts = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return pc.binary_join_element_wise(*merged, "")


@dataclass(frozen=True, slots=True)
class Member:
    """One attribute of each row as JSON; nothing where its value is null."""

    opening: str
    value: pa.StringArray
    closing: str = ""

    @property
    def parts(self) -> Parts:
        """What it is put together from."""
        return [self.opening, self.value, self.closing]

    @property
    def is_everywhere(self) -> bool:
        """Whether every row has it."""
        return not self.value.null_count


@dataclass(frozen=True)
class Members:
    """The attributes of some rows: how many bytes they are, and, once that is asked for, the text.

    Args:
        columns: One member for each attribute, in the order in which they are written.
        count: How many rows there are.
    """

    columns: tuple[Member, ...]
    count: int

    @classmethod
    def of_text(cls, text: pa.StringArray) -> "Members":
        """What was put together before; nowhere null."""
        return cls((Member("", text),), len(text))

    @cached_property
    def text(self) -> pa.StringArray:
        """Each row's members behind one another: `"a":1,"b":"x"`."""
        return joined(list(self.columns)) if self.columns else pa.repeat("", self.count)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The bytes of each row's text; nothing is written for that."""
        lengths, present = np.zeros((2, self.count), np.int64)
        for each in self.columns:
            around = len(each.opening.encode()) + len(each.closing)
            says = np.ones(self.count, np.bool_)
            if not each.is_everywhere:
                says = as_mask(pc.is_valid(each.value))
            lengths += pc.fill_null(pc.binary_length(each.value), 0).to_numpy()
            lengths += around * says
            present += says
        return lengths + np.maximum(present - len(","), 0)

    def take(self, at: pa.Array) -> "Members":
        """The members of the rows at these places."""
        if "text" in self.__dict__:
            return Members.of_text(self.text.take(at))
        columns = tuple(replace(each, value=each.value.take(at)) for each in self.columns)
        return Members(columns, len(at))


def joined(members: list[Member]) -> pa.StringArray:
    """The members of each row behind one another, commas between them.

    Neighbours that every row has are written together.
    """
    columns: list[pa.StringArray] = []
    for everywhere, some in groupby(members, attrgetter("is_everywhere")):
        if everywhere:
            columns.append(join(list(chain.from_iterable([",", *each.parts] for each in some))[1:]))
        else:
            columns += [join(each.parts) for each in some]
    return columns[0] if len(columns) == 1 and not columns[0].null_count else _skipping(columns)


def _skipping(columns: list[pa.StringArray]) -> pa.StringArray:
    """Columns joined by commas without their nulls.

    Arrow loses a row that has nothing but nulls, so one of them is made empty there.
    """
    silent = np.ones(len(columns[0]), np.bool_)
    for each in columns:
        silent &= as_mask(pc.is_null(each))
        if not silent.any():
            break
    else:
        columns = [pc.if_else(pa.array(silent), "", columns[0]), *columns[1:]]
    return pc.binary_join_element_wise(*columns, ",", null_handling="skip")
