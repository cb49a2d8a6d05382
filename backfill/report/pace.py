"""How fast a job went: its course in pieces of equal length, all runs one behind another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backfill.delivery.outcome import longest_s
from backfill.report.course import Course, Step


@dataclass(frozen=True, slots=True)
class Bin:
    """The course within one piece of its time, all runs joined.

    Args:
        from_s: Where it begins, in seconds of sending.
        until_s: Where it ends.
        rows_per_second: Rows settled in a second.
        attempts_per_second: Requests begun in a second.
        latency_s: The mean latency; None where nothing was answered.
    """

    from_s: float
    until_s: float
    rows_per_second: float
    attempts_per_second: float
    latency_s: float | None


def slowest_s(latencies: Mapping[int, int], share: float) -> float | None:
    """How long this share of the answers took at most, in seconds; None where there are none.

    Args:
        latencies: How many answers there were of each step of latency.
        share: 0.5 for the median, 0.99 for all but the slowest hundredth.
    """
    wanted = share * sum(latencies.values())
    counted = 0
    for step in sorted(latencies):
        counted += latencies[step]
        if counted >= wanted:
            return longest_s(step)
    return None


def offsets(course: Course) -> dict[int, float]:
    """Where each run begins when all are put one behind another: add to its own seconds."""
    found, at_s = {}, 0.0
    for run, (first, last) in course.spans().items():
        found[run] = at_s - first.from_s
        at_s += last.until_s - first.from_s
    return found


def bins(course: Course, count: int, shortest_s: float = 0.5) -> list[Bin]:
    """The course in at most so many pieces of equal length.

    Args:
        course: What was recorded.
        count: How many pieces at most.
        shortest_s: No piece is shorter, unless the whole course is.
    """
    total_s = course.seconds()
    if total_s <= 0:
        return []
    number = max(min(count, int(total_s / shortest_s)), 1)
    width_s = total_s / number
    sums = [[0.0] * 4 for _ in range(number)]
    for step, from_s in _placed(course):
        for at, share in _shares(from_s, from_s + step.seconds, width_s, number):
            sums[at][0] += step.rows * share
            sums[at][1] += step.attempts * share
            if step.latency_s:  # before the first good answer nobody knows
                sums[at][2] += step.attempts * share
                sums[at][3] += step.latency_s * step.attempts * share
    return [
        Bin(
            at * width_s,
            (at + 1) * width_s,
            rows / width_s,
            attempts / width_s,
            weighted / answered if answered else None,
        )
        for at, (rows, attempts, answered, weighted) in enumerate(sums)
    ]


def _placed(course: Course) -> Iterator[tuple[Step, float]]:
    starts = offsets(course)
    for step in course.steps:
        yield step, starts[step.run] + step.from_s


def _shares(
    from_s: float, until_s: float, width_s: float, number: int
) -> Iterator[tuple[int, float]]:
    """Which pieces a step lies in, and with which share of itself."""
    first = min(int(from_s / width_s), number - 1)
    last = min(int(until_s / width_s), number - 1)
    for at in range(first, last + 1):
        low = max(from_s, at * width_s)
        high = until_s if at == number - 1 else min(until_s, (at + 1) * width_s)
        if high > low:
            yield at, (high - low) / (until_s - from_s)
