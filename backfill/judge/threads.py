"""Work that is done in threads, its results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

THREADS = min(cpu_count() or 1, 4)
"""The kernels release the interpreter lock; beyond a few threads reading cannot keep up."""

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(
    work: Callable[[Given], Made], given: Iterable[Given], pool: Executor, ahead: int
) -> Iterator[Made]:
    """The results of `work` on each item, in order, while `ahead` more are in the making."""
    pending: deque[Future[Made]] = deque()
    for item in given:
        pending.append(pool.submit(work, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def read_ahead(items: Iterator[Given]) -> Iterator[Given]:
    """The items, none of them None; the next is read in another thread while one is looked at."""
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(next, items, None)
        while (item := pending.result()) is not None:
            pending = reader.submit(next, items, None)
            yield item
