"""Settings that `init` leaves open: they hold "TODO", and only a person can decide them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

TODO = "TODO"
"""Stands where nothing in the data proves a value."""

_CHOICES: Mapping[str, str] = {
    "kind": "customers, events or deletions",
    "id": "the column that identifies the person",
    "email": "the column that identifies the person",
    "cio_id": "the column that identifies the person",
    "name": "what these events are called",
    "from": "the column that holds it",
    "format": "how these timestamps are written",
    "timezone": 'an IANA name such as "America/New_York", or "UTC"',
    "encoding": 'what the program writes, such as "cp1252", "cp1251" or "cp932"',
}
"""The keys of a source that may be open, and what is to be decided where no comment says it."""

_KEY = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z0-9_-]+)\s*=')
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT = re.compile(r'(?:[^#"]|"(?:[^"\\]|\\.)*")*#\s*(.*)')
_SUGGESTION = re.compile(r'#\s*("[^"]*"|[A-Za-z0-9_.-]+)\s*=\s')


def open_settings(document: Mapping[str, Any], text: str) -> list[str]:
    """The settings that are still to be decided, each with its choices.

    The choices are what the comment beside the setting says, or above it: that is where `init`
    puts what it has seen.

    Args:
        document: The pipeline file, parsed.
        text: The same as text.
    """
    comments = dict(_comments(text))
    sources = document.get("source")
    found = []
    for number, source in enumerate(sources if isinstance(sources, list) else (), 1):
        for path in _paths(source, ()):
            key = f"source[{number}].{'.'.join(path)}"
            around = key.rpartition(".")[0]  # the comment of an inline table is that of its keys
            said = comments.get(key) or comments.get(around) or _CHOICES.get(path[-1])
            found.append(f"{key}: {said or 'what is it sent as?'}")
    return found


def _paths(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Where a setting is TODO; among the texts for null it is a text like others."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _paths(each, (*path, key))
    elif value == TODO and (path[-1] in _CHOICES or path[0] == "columns"):
        yield path


def _comments(text: str) -> Iterator[tuple[str, str]]:
    """The comment of each setting, by its key: behind it, or in the lines right above it."""
    table, sources, above = "", 0, list[str]()
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            above = [] if _SUGGESTION.match(stripped) else [*above, stripped.lstrip("# ")]
            continue
        if stripped.startswith("["):
            sources += stripped.startswith("[[source]]")
            table = stripped.strip("[]").replace("source", f"source[{sources}]", 1)
        elif key := _KEY.match(line):
            name = key[1] if _BARE_KEY.fullmatch(key[1]) else key[1][1:-1]
            beside = _COMMENT.match(line)
            yield f"{table}.{name}" if table else name, beside[1] if beside else " ".join(above)
        above = []
