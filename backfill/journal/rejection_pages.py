"""The rejections of a job on the disk: some hundred in one row of the table `rejection`, a page.

A row for each would cost more than all else where all rows of a file are rejected. Pages of a part
may lie between one another, for rows are rejected in any order; each row is in one page alone.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from threading import RLock

import numpy as np

from backfill.journal import schema
from backfill.journal.database import Database, Row
from backfill.rows import NO_REJECTIONS, Rejection, Rejections

_PAGE_BYTES = 1 << 18
_PAGES_READ = 8
_PAGES_HELD = 8

PageKey = tuple[int, int]
"""A part, and the row with which a page of it began when it was written."""


class _Page:
    """A page that single rows are asked of.

    Args:
        rejections: What is in it on the disk.
    """

    def __init__(self, rejections: Rejections) -> None:
        self._written = rejections
        self._changed: set[int] = set()
        # A retry asks for each row of a page, and more than once.
        self.by_row = {each.row: each for each in rejections}

    def put(self, row: int, rejection: Rejection | None) -> None:
        """Give a row that is in here another rejection, or none."""
        self._changed.add(row)
        if rejection is None:
            del self.by_row[row]
        else:
            self.by_row[row] = rejection

    @property
    def has_changed(self) -> bool:
        """Whether it has to be written."""
        return bool(self._changed)

    def to_write(self) -> Rejections:
        """What is in it now; from now on, this is on the disk."""
        kept = self._written.take(~np.isin(self._written.rows, [*self._changed]))
        new = Rejections.of(self.by_row[row] for row in self._changed & self.by_row.keys())
        self._written, self._changed = Rejections.together([kept, new]), set()
        return self._written


class RejectionPages:
    """The rejections of a job; like all in a journal, durable at its next commit.

    What is changed row by row waits in memory until `save`, since the rows of a retry come in
    order. It may be read in one thread while another changes it.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = RLock()
        self._held: dict[PageKey, _Page] = {}  # those used last come last

    def add(self, part: int, rejections: Rejections) -> None:
        """Take rejections of rows that were not rejected before."""
        pages = rejections.pieces(_PAGE_BYTES, schema.PAGE_ROWS)
        with self._lock:
            self._database.put(
                schema.ADD_PAGE, (_page_row(part, int(each.rows[0]), each) for each in pages)
            )

    def all(self, part: int, row: int, *, cells: bool = True) -> Iterator[tuple[int, Rejections]]:
        """Those behind this row, with their parts, in the order of parts and rows.

        Args:
            part: The part.
            row: The row of it.
            cells: Whether with their cells; see `Rejections.of_text`.
        """
        pages = groupby(self._pages(part, row, cells=cells), key=itemgetter(0))
        for at, some in pages:
            for each in in_row_order((first, found) for _, first, found in some):
                yield at, each

    def find(self, part: int, row: int) -> Rejection | None:
        """The rejection of one row, if it was rejected."""
        with self._lock:
            page = self._page_of(part, row)
            return page.by_row[row] if page else None

    def replace(self, part: int, rejection: Rejection) -> Rejection:
        """Put another rejection of a row in the place of the one before, and give that.

        Raises:
            KeyError: The row is not rejected.
        """
        return self._put(part, rejection.row, rejection)

    def remove(self, part: int, row: int) -> Rejection:
        """Forget the rejection of a row, and give it.

        Raises:
            KeyError: The row is not rejected.
        """
        return self._put(part, row, None)

    def counts(self) -> dict[int, int]:
        """How many there are of each part that has any."""
        with self._lock:
            self.save()
            return dict(self._database.figures(schema.REJECTION_COUNTS))

    def save(self) -> None:
        """Write the pages that were changed."""
        with self._lock:
            for key, page in self._held.items():
                self._write(key, page)

    def forget(self, part: int | None = None) -> None:
        """Let go of what is in memory of a part, or of all: it is not in the database any more."""
        with self._lock:
            self._held = {
                key: each for key, each in self._held.items() if part not in (None, key[0])
            }

    def _pages(self, part: int, row: int, *, cells: bool) -> Iterator[tuple[int, int, Rejections]]:
        """The pages that begin behind `PAGE_ROWS` before this row, without the rows up to it."""
        first = row - schema.PAGE_ROWS
        while found := self._read(schema.PAGES_BEHIND, (part, first, _PAGES_READ)):
            for at, first, _, _, content in found:
                page = Rejections.of_text(content, cells=cells)
                is_cut = at == part and page.rows[0] <= row
                yield at, first, page.take(page.rows > row) if is_cut else page
            at, first, *_ = found[-1]
            part, row = at, row if at == part else 0

    def _read(self, query: str, bindings: Row) -> list[tuple[int, int, int, int, str]]:
        with self._lock:
            self.save()
            return self._database.rows(query, bindings)

    def _put(self, part: int, row: int, rejection: Rejection | None) -> Rejection:
        with self._lock:
            if (page := self._page_of(part, row)) is None:
                raise KeyError((part, row))
            before = page.by_row[row]
            page.put(row, rejection)
            return before

    def _page_of(self, part: int, row: int) -> _Page | None:
        for (at, _), page in reversed(self._held.items()):  # most often the last one
            if at == part and row in page.by_row:
                return page
        bindings = (part, row - schema.PAGE_ROWS, row, row)
        for (first,) in self._database.figures(schema.PAGES_AROUND, bindings):
            page = self._hold((part, first))
            if row in page.by_row:
                return page
        return None

    def _hold(self, key: PageKey) -> _Page:
        page = self._held.pop(key, None)
        if page is None:
            ((*_, content),) = self._database.rows(schema.PAGE, key)
            page = _Page(Rejections.of_text(content))
        self._held[key] = page
        if len(self._held) > _PAGES_HELD:
            oldest = next(iter(self._held))
            self._write(oldest, self._held.pop(oldest))
        return page

    def _write(self, key: PageKey, page: _Page) -> None:
        if not page.has_changed:
            return
        if found := page.to_write():
            self._database.put(schema.PUT_PAGE, [_page_row(*key, found)])
        else:
            self._database.run(schema.DELETE_PAGE, [key])


def in_row_order(some: Iterable[tuple[int, Rejections]]) -> Iterator[Rejections]:
    """The same rows in their order, each once, where rows of one may lie between those of another.

    Args:
        some: Each with a row before which none of it is, in the order of those rows.
    """
    waiting = NO_REJECTIONS
    for first, each in some:
        # Nothing that comes later begins before this one.
        ready = int(np.searchsorted(waiting.rows, first))
        if ready:
            yield waiting[:ready]
        waiting = Rejections.together([waiting[ready:], each])
    if len(waiting):
        yield waiting


def _page_row(part: int, first: int, rejections: Rejections) -> Row:
    """A page as a row of the table `rejection`."""
    return part, first, int(rejections.rows[-1]), len(rejections), rejections.to_text()
