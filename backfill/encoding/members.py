"""JSON put together a column at a time: what all rows share as text, what differs as columns.

A part costs as much as its bytes, whoever joins it, and so does joining again what was joined
before: each row is written in one go where that can be done.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.json_text import as_mask

Parts = list[str | pa.StringArray]
"""What each row's text is put together from: text that all share, columns of their own."""

AT_ONCE_MAX = 12
"""Joining more parts at once costs more than joining them by groups, and the groups again: the
processor's nearest cache cannot follow so many columns."""


def join(parts: Parts) -> pa.StringArray:
    """The parts of each row behind one another; a null adds nothing."""
    merged: Parts = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    while len(merged) > AT_ONCE_MAX:
        starts = range(0, len(merged), AT_ONCE_MAX)
        merged = [_at_once(merged[start : start + AT_ONCE_MAX]) for start in starts]
    return _at_once(merged)


def _at_once(parts: Parts) -> pa.StringArray:
    return pc.binary_join_element_wise(*parts, "", null_handling="replace")


@dataclass(frozen=True, slots=True)
class Member:
    """One attribute of each row as JSON; nothing where its value is null."""

    opening: str
    value: pa.StringArray
    closing: str = ""

    @property
    def is_there(self) -> npt.NDArray[np.uint8]:
        """1 for each row that has it, 0 for the others."""
        return as_mask(self.value.is_valid()).view(np.uint8)


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
        return join(self.parts)

    @property
    def parts(self) -> Parts:
        """What the text is put together from; the text itself, once it was asked for.

        What stands between two values is one of a few texts: it depends on which of the two are
        there, and on whether any member came before.
        """
        if "text" in self.__dict__:
            return [self.text]
        if not self.columns:
            return [pa.repeat("", self.count)]
        here = any_before = np.zeros(self.count, np.uint8)
        parts: Parts = []
        closing = ""
        for each in self.columns:
            there = each.is_there
            openings = ("", each.opening, f",{each.opening}")
            between = [end + opening for end in ("", closing) for opening in openings]
            parts += [_chosen(between, 3 * here + there * (1 + any_before)), each.value]
            here, any_before, closing = there, any_before | there, each.closing
        return [*parts, _chosen(["", closing], here)]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The bytes of each row's text; nothing is written for that."""
        lengths, present = np.zeros((2, self.count), np.int64)
        for each in self.columns:
            around = len(each.opening.encode()) + len(each.closing)
            says = pc.add(pc.binary_length(each.value), around)
            lengths += pc.fill_null(says, 0).to_numpy()
            present += each.is_there
        return lengths + np.maximum(present - len(","), 0)

    def take(self, at: pa.Array) -> "Members":
        """The members of the rows at these places."""
        if "text" in self.__dict__:
            return Members.of_text(self.text.take(at))
        columns = tuple(replace(each, value=each.value.take(at)) for each in self.columns)
        return Members(columns, len(at))


def _chosen(texts: list[str], places: npt.NDArray[np.uint8]) -> str | pa.StringArray:
    """For each row the text at its place: that text itself where all rows have the same."""
    if len(places) and (places == places[0]).all():
        return texts[places[0]]
    return pa.array(texts).take(pa.array(places))
