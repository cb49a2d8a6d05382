"""Drawings as text: elements whose attributes and words are always escaped."""

from html import escape

from markupsafe import Markup

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
    inside = "".join(each if isinstance(each, Markup) else escape(each) for each in children)
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
    return escape(value) if isinstance(value, str) else str(value)
