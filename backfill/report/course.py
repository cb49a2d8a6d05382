"""The course of a job: how fast it went, and when it had to wait.

It is kept in a small file beside the journal, so that a report shows every run of a job, those
among them that were killed. Nothing depends on it: without the file, a report has no curves.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path

import orjson

from backfill.delivery.outcome import longest_s
from backfill.files import write_atomically

COURSE_FILE = "course.json"
STEPS_MAX = 600
"""Beyond so many steps, neighbours are merged: the file stays below 50 kB."""

PAUSES_MAX = 100
"""Of more pauses than this the longest are kept; all of them are counted."""


WIDTH_MIN_S = 0.25
WIDTH_MAX_S = 1e7
_FORM = 2


@dataclass(slots=True)
class Step:
    """What one run did between two timestamps.

    Args:
        run: The run's number in the journal.
        from_s: When the step began, in seconds since the run did.
        until_s: When it ended.
        rows: Rows that were settled.
        attempts: Requests begun.
        latency_s: How long answers took, a mean weighted by attempts; 0 where nothing was sent.
    """

    run: int
    from_s: float
    until_s: float
    rows: int
    attempts: int
    latency_s: float

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.until_s - self.from_s

    def merged(self, later: "Step") -> "Step":
        """This step and the one behind it as one."""
        attempts = self.attempts + later.attempts
        weighted = self.latency_s * self.attempts + later.latency_s * later.attempts
        return Step(
            self.run,
            self.from_s,
            later.until_s,
            self.rows + later.rows,
            attempts,
            round(weighted / attempts, 4) if attempts else 0.0,
        )


@dataclass(slots=True)
class Wait:
    """A time in which nothing, or next to nothing, was sent.

    Args:
        run: The run's number in the journal.
        reason: Why, as the delivery calls it.
        from_s: When it began, in seconds since the run did.
        until_s: When it was to end.
    """

    run: int
    reason: str
    from_s: float
    until_s: float

    @property
    def seconds(self) -> float:
        """How long it was to last."""
        return self.until_s - self.from_s


@dataclass(slots=True)
class Course:
    """The steps and the pauses of a job, in order, over all its runs.

    Args:
        width_s: Neighbours are merged up to this length.
        steps: At most `STEPS_MAX`.
        waits: At most `PAUSES_MAX`.
        waited: For each reason, how often and how many seconds.
        latencies: How many good answers took how long, by the meter's `latency_step`.
    """

    width_s: float = WIDTH_MIN_S
    steps: list[Step] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    waited: dict[str, tuple[int, float]] = field(default_factory=dict)
    latencies: Counter[int] = field(default_factory=Counter)

    @classmethod
    def load(cls, path: Path) -> "Course":
        """What was kept; nothing where there is no such file, or it is not one of ours."""
        try:
            kept = orjson.loads(path.read_bytes())
            # An older version's curves are not worth a failure: the report does without them.
            if kept["form"] != _FORM:
                return cls()
            return cls(
                float(kept["width_s"]),
                [Step(*each) for each in kept["steps"]],
                [Wait(**each) for each in kept["waits"]],
                {reason: (count, seconds) for reason, (count, seconds) in kept["waited"].items()},
                Counter(dict(kept["latencies"])),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def save(self, path: Path) -> None:
        """Keep it.

        Raises:
            OSError: The disk is full, or the directory cannot be written to.
        """
        kept = {
            "form": _FORM,
            "width_s": self.width_s,
            "steps": [astuple(each) for each in self.steps],
            "waits": [asdict(each) for each in self.waits],
            "waited": self.waited,
            "latencies": sorted(self.latencies.items()),
        }
        write_atomically(path, orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE))

    def add(self, step: Step) -> None:
        """Add the latest step."""
        self._append(step)
        # Half as fine, as often as it takes: a run of a week has no more steps than one of a
        # minute.
        while len(self.steps) > STEPS_MAX and self.width_s < WIDTH_MAX_S:
            self.width_s *= 2
            steps, self.steps = self.steps, []
            for each in steps:
                self._append(each)
        # At the widest, the oldest steps go.
        del self.steps[:-STEPS_MAX]

    def wait(self, wait: Wait) -> None:
        """Add a pause; one that goes on from another for the same reason makes that longer."""
        last = self.waits[-1] if self.waits else None
        goes_on = (
            last is not None
            and (last.run, last.reason) == (wait.run, wait.reason)
            and wait.from_s <= last.until_s + WIDTH_MIN_S
        )
        count, seconds = self.waited.get(wait.reason, (0, 0.0))
        # An outage is told anew with each attempt; people want to read one line about it.
        if goes_on and last is not None:
            longer_s = max(wait.until_s - last.until_s, 0.0)
            last.until_s += longer_s
            self.waited[wait.reason] = count, round(seconds + longer_s, 3)
            return
        self.waited[wait.reason] = count + 1, round(seconds + wait.seconds, 3)
        self.waits.append(wait)
        if len(self.waits) > PAUSES_MAX:
            # The shortest says least; the latest may still get longer.
            self.waits.remove(min(self.waits[:-1], key=lambda each: each.seconds))

    def seconds(self) -> float:
        """How long all runs were sending."""
        return sum(last.until_s - first.from_s for first, last in self.spans().values())

    def ended_s(self, run: int) -> float:
        """When a run was last seen, in seconds since it began; 0 where it never sent."""
        _, last = self.spans().get(run, (None, None))
        return last.until_s if last else 0.0

    def spans(self) -> dict[int, tuple[Step, Step]]:
        """The first and the last step of each run."""
        spans: dict[int, tuple[Step, Step]] = {}
        for each in self.steps:
            first, _ = spans.get(each.run, (each, each))
            spans[each.run] = first, each
        return spans

    def _append(self, step: Step) -> None:
        last = self.steps[-1] if self.steps else None
        # Never across runs: between two of them no time of sending passes.
        if last and last.run == step.run and step.until_s - last.from_s <= self.width_s:
            self.steps[-1] = last.merged(step)
        else:
            self.steps.append(step)


class Recorder:
    """Turns counters that grow into the steps of one run.

    Args:
        course: Where they are added.
        run: The run's number.
        at_s: When sending begins, in seconds since the run did.
        rows: How many rows it has settled by then.
        attempts: How many requests were begun by then.
    """

    def __init__(self, course: Course, run: int, at_s: float, rows: int, attempts: int) -> None:
        self.course = course
        self._run = run
        self._at_s = at_s
        self._rows = rows
        self._attempts = attempts

    def note(self, at_s: float, rows: int, attempts: int, latency_s: float) -> None:
        """So far it has come by now; `latency_s` is the mean of late."""
        # Two looks in the same instant would make a step of no length, and a rate without end.
        if at_s <= self._at_s:
            return
        sent = attempts - self._attempts
        self.course.add(
            Step(
                self._run,
                round(self._at_s, 3),
                round(at_s, 3),
                rows - self._rows,
                sent,
                round(latency_s, 4) if sent else 0.0,
            )
        )
        self._at_s, self._rows, self._attempts = at_s, rows, attempts

    def paused(self, reason: str, at_s: float, wait_s: float) -> None:
        """A pause begins, or lasts longer than was known."""
        until_s = round(at_s + max(wait_s, 0.0), 3)
        self.course.wait(Wait(self._run, reason, round(at_s, 3), until_s))


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
        # The last piece takes what rounding leaves behind its end.
        high = until_s if at == number - 1 else min(until_s, (at + 1) * width_s)
        if high > low:
            yield at, (high - low) / (until_s - from_s)
