"""The charts of a report: SVG made here, each in a wide and in a narrow form.

Colours and sizes of letters are the style sheet's. What a pointer shows stands in `<title>`, so
that it is there without a script as well; what a screen reader says is the drawing's label, and a
table stands beside each chart.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from backfill.report.course import Bin, Course, bins, offsets
from backfill.report.plot import ChartForm, Plot, element, in_every_form, path, words
from backfill.report.scales import (
    Calendar,
    Tick,
    calendar,
    day_ticks,
    elapsed_ticks,
    ticks,
)
from backfill.report.wording import PAUSES, counted, elapsed, short

COLOURS = 8
"""So many colours there are in the style sheet; the last one is for all others."""

_SEGMENT_MIN = 3.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One account of the law.

    Args:
        name: Its name.
        rows: Its rows.
    """

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class Days:
    """Events by name and day.

    Args:
        by_name: Days since 1970 with their events, the most frequent name first.
        together: So many days are put together, the first one stands for all.
    """

    by_name: Mapping[str, Mapping[int, int]]
    together: int = 1

    @property
    def first(self) -> int:
        """The first day."""
        return min(map(min, self.by_name.values()))

    @property
    def last(self) -> int:
        """The last day."""
        return max(map(max, self.by_name.values())) + self.together - 1


def balance(rows_read: int, parts: Sequence[Piece]) -> Markup:
    """The law as two bars of the same length: what was read, and what became of it."""
    said = " + ".join(f"{part.rows:,} {part.name}" for part in parts)
    label = f"{rows_read:,} rows read = {said}"
    return in_every_form(label, 104, lambda form: _balance(form, rows_read, parts))


def _balance(form: ChartForm, rows_read: int, parts: Sequence[Piece]) -> list[Markup]:
    width, shown = float(form.width), [part for part in parts if part.rows]
    # Three rejected rows of a million are the ones that people look for.
    widths = _widths([part.rows for part in shown], width, _SEGMENT_MIN)
    drawn = [
        words(0, 14, f"{rows_read:,} rows read", "caption"),
        element("rect", x=0, y=22, width=width, height=26, rx=4, class_="read"),
        words(0, 68, "what became of them", "caption"),
    ]
    at = 0.0
    for part, wide in zip(shown, widths, strict=True):
        gap = 1.5 if wide > _SEGMENT_MIN else 0.5
        said = f"{part.rows:,} {part.name} ({part.rows / max(rows_read, 1):.2%})"
        drawn.append(
            element(
                "rect",
                element("title", said),
                x=at,
                y=76,
                width=max(wide - gap, 1.0),
                height=26,
                rx=min(4.0, wide / 3),
                class_=f"part {part.name}",
            )
        )
        at += wide
    return drawn


def _widths(amounts: Sequence[int], width: float, least: float) -> list[float]:
    """Shares of a width; the small ones are drawn a little too wide, to be seen at all."""
    total = sum(amounts) or 1
    small = [each for each in amounts if each / total * width < least]
    rest = (width - least * len(small)) / ((total - sum(small)) or 1)
    return [least if each / total * width < least else each * rest for each in amounts]


def speed(course: Course) -> Markup:
    """Rows and requests per second over the time of sending."""
    label = "Rows settled per second while sending"
    return in_every_form(label, 240, lambda form: _speed(form, course))


def latency(course: Course) -> Markup:
    """The mean latency over the time of sending."""
    label = "Mean response time while sending"
    return in_every_form(label, 190, lambda form: _latency(form, course))


def _speed(form: ChartForm, course: Course) -> list[Markup]:
    found = bins(course, form.pieces)
    plot = Plot(form, 30, 210, found[-1].until_s)
    up = ticks(max(each.rows_per_second for each in found), 4, whole=True)
    plot.grid(up, elapsed_ticks(plot.last, form.ticks), "rows/s")
    _waits(plot, course)
    outline = [
        point
        for each in found
        for point in (
            (plot.x(each.from_s), plot.y(each.rows_per_second)),
            (plot.x(each.until_s), plot.y(each.rows_per_second)),
        )
    ]
    # The line alone is drawn above; the area needs the ground under it as well.
    floor = [(plot.x(plot.last), plot.y(0)), (plot.x(0), plot.y(0))]
    plot.drawn.append(element("path", d=path(outline + floor, close=True), class_="area"))
    plot.drawn.append(element("path", d=path(outline), class_="line"))
    _runs(plot, course)
    _tips(plot, found)
    return plot.drawn


def _latency(form: ChartForm, course: Course) -> list[Markup]:
    found = bins(course, form.pieces)
    plot = Plot(form, 30, 160, found[-1].until_s)
    known = [each for each in found if each.latency_s is not None]
    up = ticks(1000 * max(each.latency_s or 0.0 for each in known), 3, whole=True)
    plot.grid(up, elapsed_ticks(plot.last, form.ticks), "ms")
    _waits(plot, course)
    for line in _unbroken(found):
        points = [
            (plot.x((each.from_s + each.until_s) / 2), plot.y(1000 * (each.latency_s or 0.0)))
            for each in line
        ]
        plot.drawn.append(element("path", d=path(points), class_="line second"))
        if len(points) == 1:
            (x, y), *_ = points
            plot.drawn.append(element("circle", cx=x, cy=y, r=3, class_="dot second"))
    _runs(plot, course)
    _tips(plot, found)
    return plot.drawn


def _unbroken(found: Sequence[Bin]) -> list[list[Bin]]:
    """The bins with a latency, neighbours together."""
    lines: list[list[Bin]] = [[]]
    for each in found:
        if each.latency_s is None:
            lines.append([])
        else:
            lines[-1].append(each)
    return [line for line in lines if line]


def history(days: Days) -> Markup:
    """Events by name over the time when they happened."""
    names = ", ".join(days.by_name)
    label = f"Events by time, one colour per name: {names}"
    return in_every_form(label, 280, lambda form: _history(form, days))


def in_pieces(days: Days, count: int) -> tuple[Calendar, dict[int, Counter[str]]]:
    """Events by name in at most so many pieces of the calendar, by the first day of each."""
    parts = calendar(days.first, days.last, count, days.together)
    starts = parts.starts(days.first, days.last)
    pieces: list[Counter[str]] = [Counter() for _ in starts]
    for name, by_day in days.by_name.items():
        for at, events in by_day.items():
            pieces[bisect_right(starts, at) - 1][name] += events
    return parts, dict(zip(starts, pieces, strict=True))


def _history(form: ChartForm, days: Days) -> list[Markup]:
    parts, pieces = in_pieces(days, form.pieces)
    first, last = min(pieces), parts.after(max(pieces))
    plot = Plot(form, 30, 246, last - first)
    up = ticks(max(each.total() for each in pieces.values()), 4, whole=True)
    below = [Tick(each.at - first, each.label) for each in day_ticks(first, last, form.ticks)]
    plot.grid(up, below, "events")
    plot.drawn += [
        element("path", d="".join(bars), class_=f"c{min(place, COLOURS - 1)}")
        for place, bars in enumerate(_stacked(plot, days.by_name, parts, pieces).values())
    ]
    for start, found in pieces.items():
        said = [f"{parts.label(start)}: {counted(found.total(), 'event')}"]
        said += [f"{name}: {found[name]:,}" for name in days.by_name if found[name]]
        plot.band(start - first, parts.after(start) - first, "\n".join(said), "tip")
    return plot.drawn


def _stacked(
    plot: Plot,
    names: Iterable[str],
    parts: Calendar,
    pieces: Mapping[int, Counter[str]],
) -> dict[str, list[str]]:
    """For each name its bars, each on those of the names before."""
    bars: dict[str, list[str]] = {name: [] for name in names}
    first = min(pieces)
    for start, found in pieces.items():
        left, right = plot.x(start - first), plot.x(parts.after(start) - first)
        wide = max(right - left - min(1.5, (right - left) / 5), 0.8)
        below = 0
        for name, drawn in bars.items():
            if found[name]:
                bottom = plot.y(below)
                below += found[name]
                high = max(bottom - plot.y(below), 0.5)
                drawn.append(f"M{left:.1f} {bottom:.1f}v-{high:.1f}h{wide:.1f}v{high:.1f}z")
    return bars


def _waits(plot: Plot, course: Course) -> None:
    starts = offsets(course)
    for each in course.waits:
        if each.run in starts:
            at_s = max(starts[each.run] + each.from_s, 0.0)
            why = PAUSES.get(each.reason, each.reason)
            said = f"paused for {elapsed(each.seconds)}: {why}"
            plot.band(min(at_s, plot.last), at_s + each.seconds, said, "wait")


def _runs(plot: Plot, course: Course) -> None:
    """A line where each later run begins; labels only where they do not run into each other."""
    spans = course.spans()
    starts = [(run, offset + spans[run][0].from_s) for run, offset in offsets(course).items()]
    labelled = plot.x(0)
    # The first run begins where the axis does.
    for run, at_s in starts[1:]:
        free = plot.x(at_s) - labelled > _RULE_WIDTH and plot.x(at_s) < plot.x(plot.last) - 40
        plot.rule(at_s, f"run {run}" if free else "")
        labelled = plot.x(at_s) if free else labelled


_RULE_WIDTH = 48


def _tips(plot: Plot, found: Sequence[Bin]) -> None:
    for each in found:
        answered = "" if each.latency_s is None else f"\n{1000 * each.latency_s:,.0f} ms latency"
        plot.band(
            each.from_s,
            each.until_s,
            f"{elapsed(each.from_s)} to {elapsed(each.until_s)}\n{each.rows_per_second:,.0f} rows/s"
            f"\n{short(round(each.attempts_per_second, 1))} requests/s{answered}",
            "tip",
        )
