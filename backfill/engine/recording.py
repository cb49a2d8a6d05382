"""Watches a run while it sends, and keeps its course."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from backfill.delivery.outcome import Meter, Pause
from backfill.engine.clock import Clock
from backfill.report.course import Course, Recorder

SAVED_EVERY_S = 2.0
"""A crash takes so much of the curves."""


def save_course(course: Course, path: Path) -> None:
    """Keep the course, if the disk takes it.

    A disk that does not takes no journal either, and that is what stops a run.
    """
    with suppress(OSError):
        course.save(path)


@asynccontextmanager
async def recorded(
    course: Course,
    path: Path,
    run: int,
    *,
    rows: Callable[[], int],
    meter: Meter,
    clock: Clock,
    on_pause: Callable[[Pause], None],
) -> AsyncIterator[None]:
    """Note how fast it goes, and the pauses, while the body runs.

    Args:
        course: Where it is noted.
        path: The file of the course.
        run: The run's number.
        rows: Says how many rows this run has settled.
        meter: What the delivery does.
        clock: The time; its start is the run's.
        on_pause: Called at the beginning of each pause.
    """
    before = Counter(course.latencies)
    recorder = Recorder(course, run, clock.since_start_s(), rows(), meter.attempts)

    def paused(pause: Pause) -> None:
        recorder.paused(pause.reason, clock.since_start_s(), pause.until_s - clock.now_s())
        on_pause(pause)

    def note() -> None:
        recorder.note(clock.since_start_s(), rows(), meter.attempts, meter.latency_s)
        course.latencies = before + meter.latencies

    async def watch() -> None:
        saved_s = clock.now_s()
        while True:
            await asyncio.sleep(course.width_s)
            note()
            if clock.now_s() >= saved_s + SAVED_EVERY_S:
                save_course(course, path)
                saved_s = clock.now_s()

    meter.on_pause = paused
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        note()
