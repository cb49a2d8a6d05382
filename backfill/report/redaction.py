"""What a report may show: it is passed on to people who must not see personal data or secrets."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

from backfill.pipeline.file import Pipeline
from backfill.pipeline.setting_values import Allowance, RelativeTime, StrictSettings
from backfill.report import content
from backfill.report.wording import utc_text

Redact = Literal["all", "values", "none"]
"""What is left out: `all` names of files, columns and events too; `values` the cells of rows and
what the API said about them; `none` nothing."""


@dataclass(slots=True)
class Redaction:
    """Replaces what must not be shown. The same name always gets the same stand-in.

    Args:
        redact: What is left out.
    """

    redact: Redact = "values"
    _stand_ins: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def shows_values(self) -> bool:
        """Whether cells may be shown, and the API's own words, which may repeat them."""
        return self.redact == "none"

    def file(self, name: str) -> str:
        """The name of a file."""
        return self._name("file", name)

    def column(self, name: str) -> str:
        """The name of a column or an attribute."""
        return self._name("column", name)

    def event(self, name: str) -> str:
        """The name of an event."""
        return self._name("event", name)

    def text(self, text: str) -> str:
        """A sentence that names files, columns or events."""
        return "" if self.redact == "all" else text

    def _name(self, kind: str, name: str) -> str:
        if self.redact != "all" or not name:
            return name
        number = sum(each == kind for each, _ in self._stand_ins) + 1
        return self._stand_ins.setdefault((kind, name), f"{kind} {number}")


_NAMING = (
    *("files", "identifier", "object", "primary", "secondary", "name", "timestamp", "key"),
    *("columns", "required", "transform"),
)
"""Settings that name files, columns or events."""

_UNTOLD = (
    *("kind", "credentials", "url", "null_values", "path", "sources", "destination"),
    "notify",  # who knows a webhook's url can post to it
)
_VERSIONED = ("backfill", "pyarrow", "pandas", "aiohttp", "apsw")


def settings_of(
    pipeline: Pipeline, titles: Sequence[str], shown: Redaction
) -> Iterator[content.ShownSettings]:
    """The settings of the job and of each source.

    Args:
        pipeline: The settings.
        titles: What each source is called.
        shown: What may be shown.
    """
    job = {"name": pipeline.name, **_values(pipeline, shown)}
    yield content.ShownSettings("job", job | _values(pipeline.destination, shown))
    for title, source in zip(titles, pipeline.sources, strict=True):
        yield content.ShownSettings(title, _values(source, shown))


def versions() -> dict[str, str]:
    """What it was made with."""
    return {
        **{name: version(name) for name in _VERSIONED},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _values(settings: StrictSettings, shown: Redaction) -> dict[str, str]:
    """The settings of one table that have a value, each as text."""
    hidden = {*_UNTOLD, *(_NAMING if shown.redact == "all" else ())}
    told = {
        name: _value(getattr(settings, name))
        for name in type(settings).model_fields
        if name not in hidden
    }
    return {name: text for name, text in told.items() if text}


def _value(value: Any) -> str:
    match value:
        case Allowance():
            return f"{100 * (value.share or 0):g} %" if value.count is None else f"{value.count:,}"
        case RelativeTime():
            return _moment(value)
        case StrictSettings():
            return _value(value.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        case Mapping():
            return ", ".join(_pair(key, each) for key, each in value.items())
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(_value, value))
        case float():
            return f"{value:g}"
    return "" if value is None else str(value)


def _pair(key: str, value: Any) -> str:
    text = _value(value)
    return f"{key} ({text})" if isinstance(value, StrictSettings | Mapping) else f"{key} = {text}"


def _moment(value: RelativeTime) -> str:
    if value.unix_s is not None:
        return utc_text(value.unix_s)
    return f"the run's start {value.after_now_s / 3600:+g} h"
