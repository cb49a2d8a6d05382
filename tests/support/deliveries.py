"""What the delivery tests share: small batches, a clock without waiting, and a way to open."""

import asyncio
import selectors
from bisect import bisect_left
from collections.abc import Coroutine
from typing import Any, TypeVar

import numpy as np
import orjson
import pyarrow as pa

from backfill.operations.batches import Batch, Segment
from backfill.operations.encode import Operations

T = TypeVar("T")
KEY_LOOK_UP = "/api/v1/accounts/region"


def worst_second(times: list[float]) -> int:
    """The most turns in any second, its end excluded."""
    return max((bisect_left(times, t + 1.0 - 1e-4) - i for i, t in enumerate(times)), default=0)


def batch_of(count: int, first: int = 0) -> Batch:
    """A v2 batch of `count` operations numbered from `first`."""
    texts = [orjson.dumps({"number": first + i}).decode() + "," for i in range(count)]
    operations = Operations(np.arange(count), pa.array(texts))
    return Batch("POST", "/api/v2/batch", (Segment(operations, 0, count),))


def single(path: str, method: str = "POST", body: str = "{},") -> Batch:
    """A v1 request of one operation."""
    operations = Operations(np.arange(1), pa.array([body]), paths=pa.array([path]), method=method)
    return Batch(method, path, (Segment(operations, 0, 1),), single=True)


class _Jump(selectors.BaseSelector):
    """A selector that never waits: it moves the loop's clock instead."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now_s = 1_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits for another one")
            self.now_s += timeout
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> Any:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class _JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time: its clock jumps to whoever is next."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s

    def jump(self, seconds: float) -> None:
        self._jump.now_s += seconds


def oversleep(seconds: float) -> None:
    """The machine sleeps: to whoever runs `in_no_time`, so much later it is in the next instant."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _JumpingLoop)
    loop.jump(seconds)


def in_no_time(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it with a clock that jumps: hours of waiting take milliseconds. No sockets."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(coroutine)
