"""Drawings as text: SVG elements, always escaped, and the inside of a chart with its axes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from backfill.report.scales import Tick
from backfill.report.wording import printable


@dataclass(frozen=True, slots=True)
class ChartForm:
    """How large a drawing is, in pixels.

    Args:
        name: Which form it is, for the style sheet.
        width: Its width.
        left: Room for what stands at the left axis.
        pieces: How many bars or steps there is room for.
        ticks: How many labels below the axis there is room for.
    """

    name: str
    width: int
    left: int
    pieces: int
    ticks: int

    @property
    def right(self) -> int:
        """Where the plot ends."""
        return self.width - 12


FORMS = (ChartForm("wide", 1000, 58, 190, 9), ChartForm("narrow", 340, 46, 46, 4))


class Plot:
    """The inside of a chart.

    Args:
        form: How large it is.
        top: Where the plot begins, from above.
        bottom: Where it ends.
        last: What stands at its right end, in the axis's own units; 0 stands at the left.
    """

    def __init__(self, form: ChartForm, top: int, bottom: int, last: float) -> None:
        self.drawn: list[Markup] = []
        self.last = last
        self._form, self._top, self._bottom = form, top, bottom
        self._highest = 1.0

    def x(self, value: float) -> float:
        """Where a value of the lower axis stands."""
        return self._form.left + value / self.last * (self._form.right - self._form.left)

    def y(self, value: float) -> float:
        """Where a value of the left axis stands."""
        return self._bottom - value / self._highest * (self._bottom - self._top)

    def grid(self, up: Sequence[Tick], below: Sequence[Tick], unit: str) -> None:
        """The axes, with a line at each tick."""
        left, right = self._form.left, self._form.right
        self._highest = up[-1].at
        self.drawn.append(words(left - 8, self._top - 16, unit, "unit end"))
        for each in up:
            y = self.y(each.at)
            self.drawn.append(element("line", x1=left, y1=y, x2=right, y2=y, class_="grid"))
            self.drawn.append(words(left - 8, y + 4, each.label, "tick end"))
        for each in below:
            x = self.x(each.at)
            bottom = self._bottom
            self.drawn.append(element("line", x1=x, y1=bottom, x2=x, y2=bottom + 5, class_="axis"))
            side = "end" if x > right - 20 else "" if x < left + 12 else "middle"
            self.drawn.append(words(x, bottom + 20, each.label, f"tick {side}"))
        y = self._bottom
        self.drawn.append(element("line", x1=left, y1=y, x2=right, y2=y, class_="axis"))

    def band(self, from_: float, until: float, title: str, class_: str) -> None:
        """Mark a piece of the lower axis, from top to bottom; the title is for the pointer."""
        wide = max(self.x(min(until, self.last)) - self.x(from_), 1.5)
        self.drawn.append(
            element(
                "rect",
                element("title", title),
                x=self.x(from_),
                y=self._top,
                width=wide,
                height=self._bottom - self._top,
                class_=class_,
            )
        )

    def rule(self, at: float, label: str) -> None:
        """A vertical line with a word at its top."""
        x = self.x(at)
        top, bottom = self._top - 18, self._bottom
        self.drawn.append(element("line", x1=x, y1=top, x2=x, y2=bottom, class_="rule"))
        self.drawn.append(words(x + 4, self._top - 10, label, "unit"))


def in_every_form(label: str, height: int, draw: Callable[[ChartForm], list[Markup]]) -> Markup:
    """The same drawing in every form; the style sheet shows one of them."""
    return Markup("").join(
        drawing(form.width, height, label, *draw(form), class_=f"chart {form.name}")
        for form in FORMS
    )


def words(x: float, y: float, text: str, class_: str) -> Markup:
    """Words at a place."""
    return element("text", text, x=x, y=y, class_=class_)


Value = str | int | float


def element(name: str, *children: Markup | str, **attributes: Value) -> Markup:
    """One element; children that are no markup are escaped.

    A name's underscores become hyphens, one at its end is dropped: `class_`, `stroke_width`.

    >>> print(element("text", "a < b", x=1.50, class_="tick"))
    <text x="1.5" class="tick">a &lt; b</text>
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
    )
    inside = "".join(each if isinstance(each, Markup) else _escaped(each) for each in children)
    return Markup(f"<{name}{given}>{inside}</{name}>")  # noqa: S704  # all of it is escaped


def drawing(width: int, height: int, label: str, *children: Markup, class_: str) -> Markup:
    """A drawing that fills the width it is given; `label` is read instead of it."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=label,
        class_=class_,
    )


def path(points: list[tuple[float, float]], *, close: bool = False) -> str:
    """A line through points, for `d`."""
    text = "L".join(f"{_text(x)} {_text(y)}" for x, y in points)
    return f"M{text}{'Z' if close else ''}"


def _text(value: Value) -> str:
    """A value as text; a place to a tenth of a pixel, since more is noise."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return _escaped(value) if isinstance(value, str) else str(value)


def _escaped(text: str) -> str:
    return escape(printable(text, lines=True))
