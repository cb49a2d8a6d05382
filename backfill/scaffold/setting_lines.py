"""A setting of the pipeline file as it is written: key, value and the comment behind it."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


def key(name: str) -> str:
    """A key as TOML writes it."""
    return name if _BARE.fullmatch(name) else toml(name)


def toml(value: Value) -> str:
    """A value as TOML writes it.

    >>> toml({"from": "Größe", "n": [1, True]})
    '{ from = "Größe", n = [1, true] }'
    """
    if isinstance(value, str):
        # JSON's strings are TOML's, but for this one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        return f"{{ {', '.join(f'{key(name)} = {toml(each)}' for name, each in value.items())} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)
