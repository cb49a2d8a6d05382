"""An event loop whose time is stepped: hours of waiting take milliseconds."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from backfill.clock import Clock

T = TypeVar("T")
THREADS_PATIENCE_S = 60.0
UNIX_S = 1_767_225_600.0
"""When virtual time begins: 2026-01-01 in UTC."""


class _Stepping(selectors.BaseSelector):
    """A selector that never waits for time: it moves the loop's clock instead.

    It does wait for threads, whose work takes no virtual time: so nothing depends on how fast the
    machine is.
    """

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now_s = 1_000.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if self.threads:
            ready = self._real.select(THREADS_PATIENCE_S)
            if not ready:
                raise RuntimeError("a thread waits for the event loop")
            return ready
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


class _SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time: its clock jumps to whoever is next."""

    def __init__(self) -> None:
        self._stepping = _Stepping()
        super().__init__(self._stepping)

    def time(self) -> float:
        return self._stepping.now_s

    def step(self, seconds: float) -> None:
        self._stepping.now_s += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> Any:
        self._stepping.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._is_done)
        return future

    async def shutdown_default_executor(self, *_: object) -> None:
        # A timeout would be virtual, and threads are real.
        self._stepping.threads += 1
        await super().shutdown_default_executor()
        self._stepping.threads -= 1

    def _is_done(self, _: object) -> None:
        self._stepping.threads -= 1


def oversleep(seconds: float) -> None:
    """The machine sleeps: to whoever runs `in_no_time`, so much later it is in the next instant."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _SteppedLoop)
    loop.step(seconds)


def in_no_time(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it with a clock that is stepped. No sockets."""
    with asyncio.Runner(loop_factory=_SteppedLoop) as runner:
        return runner.run(coroutine)


def virtual_clock() -> Clock:
    """The clock of the loop that runs, also for other threads; every die shows 0.5."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _SteppedLoop)
    began_s = loop.time()
    return Clock(
        now_s=loop.time,
        unix_s=lambda: UNIX_S + loop.time() - began_s,
        sleep=loop.step,
        jitter=lambda: 0.5,
    )
