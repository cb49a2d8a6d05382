"""The text of a pipeline file: settings as lines of TOML, each with its comment."""

import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from backfill.report.wording import UNPRINTABLE, counted
from backfill.scaffold.setting_docs import ABOUT, schema_uri

_COMMENT_AT = 36
_WIDTH = 100
_BARE = re.compile(r"[A-Za-z0-9_-]+")

Value = str | int | float | bool | Sequence["Value"] | Mapping[str, "Value"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a pipeline file.

    Args:
        key: The key.
        value: Its value.
        note: What was found, or what it does.
        on: Otherwise it is written as a comment: a suggestion.
    """

    key: str
    value: Value
    note: str = ""
    on: bool = True

    def lines(self) -> list[str]:
        """As TOML; a note for which there is no room goes above."""
        text = f"{'' if self.on else '# '}{key(self.key)} = {toml(self.value)}"
        if not self.note:
            return [text]
        line = f"{text:<{_COMMENT_AT - 3}}  # {in_one_line(self.note)}"
        if len(line) <= _WIDTH:
            return [line]
        return [*comment(self.note), text]


@dataclass(slots=True)
class Proposal:
    """One `[[source]]` table.

    Args:
        kind: Its kind.
        files: Its files.
        remarks: What people should know of them.
        settings: Its settings.
        columns: Its declared attributes.
        open: The keys that somebody has to decide.
    """

    kind: str
    files: list[str]
    remarks: list[str]
    settings: list[Setting] = field(default_factory=list)
    columns: list[Setting] = field(default_factory=list)
    open: list[str] = field(default_factory=list)


def comment(text: str) -> list[str]:
    """A text as comment lines."""
    return textwrap.wrap(
        in_one_line(text),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )


def in_one_line(text: str) -> str:
    """A text without line ends and control characters: names of columns may hold them."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def some(names: Sequence[str], most: int = 20) -> str:
    """Names in a row; of many, the first, and how many more there are."""
    left = len(names) - most
    more = f" and {left:,} more" if left > 0 else ""
    return in_one_line(", ".join(names[:most])) + more


def key(name: str) -> str:
    """A key as TOML writes it."""
    return name if _BARE.fullmatch(name) else toml(name)


def toml(value: Value) -> str:
    """A value as TOML writes it.

    >>> toml({"from": "Größe", "n": [1, True]})
    '{ from = "Größe", n = [1, true] }'
    """
    if isinstance(value, str):
        # JSON's strings are TOML's. What no editor shows as it is, or what turns the direction of
        # a line, is written as an escape.
        quoted = json.dumps(value, ensure_ascii=False)
        return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        return f"{{ {', '.join(f'{key(name)} = {toml(each)}' for name, each in value.items())} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")

_TEMPLATES = Environment(  # noqa: S701  # it writes TOML; the values are quoted as TOML
    loader=PackageLoader("backfill.scaffold", ""),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def pipeline_text(
    proposals: Sequence[Proposal], rows: int, path: Path, passed_over: Sequence[str] = ()
) -> str:
    """The text of a pipeline file.

    Args:
        proposals: Its sources.
        rows: How many rows were looked at.
        path: Where it is to be written.
        passed_over: Files that nobody looked at.
    """
    todo = f"To be decided by you: {', '.join(keys)}" if (keys := open_keys(proposals)) else ""
    others = f"Not looked at, since the format is unknown: {some(passed_over)}" * bool(passed_over)
    return _TEMPLATES.get_template("pipeline.toml.j2").render(
        schema=schema_uri(),
        rows=counted(rows, "row"),
        open="\n".join(comment(todo)),
        passed_over="\n".join(comment(others)),
        file=path.name,
        name=_lines([Setting("name", _job_name(path), ABOUT["name"])]),
        rejected_max=_lines([Setting("rejected_max", "1%", ABOUT["rejected_max"])]),
        destination=_lines(
            Setting(key, value, ABOUT[key], on)
            for key, value, on in (
                ("api", "v2", True),
                ("region", "us", True),
                ("url", "http://127.0.0.1:8025", False),
                ("credentials", "customerio.toml", False),
                ("rate", 100, True),
            )
        ),
        sources=[
            {
                "remarks": "\n".join(chain.from_iterable(map(comment, each.remarks))),
                "settings": _lines(each.settings),
                "columns": _lines(each.columns),
            }
            for each in proposals
        ],
    )


def open_keys(proposals: Sequence[Proposal]) -> list[str]:
    """The keys that somebody has to decide."""
    return [f"source[{n}].{key}" for n, each in enumerate(proposals, 1) for key in each.open]


def _lines(settings: Iterable[Setting]) -> str:
    return "\n".join(chain.from_iterable(each.lines() for each in settings))


def _job_name(path: Path) -> str:
    """The file's own name, or its folder's where that says nothing."""
    name = path.stem if path.stem != "pipeline" else path.resolve().parent.name
    return _NO_NAME.sub("-", name).strip("._-")[:100] or "history"
