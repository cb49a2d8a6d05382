"""What is wrong with a pipeline file, a line a mistake: the key, what is wrong, the nearest key."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from backfill.pipeline.source_settings import KINDS

TODO = "TODO"
"""Stands where nothing in the data proves a value."""


def _listed(names: Iterable[str], last: str = "and") -> str:
    *first, final = names
    return f"{', '.join(first)} {last} {final}" if first else final


_CHOICES: Mapping[str, str] = {
    "kind": _listed(KINDS, "or"),
    "id": "the column that identifies the person",
    "email": "the column that identifies the person",
    "cio_id": "the column that identifies the person",
    "object_id": "the column that identifies the object",
    "object_type": 'the number of the object type in Customer.io, such as "1"',
    "type": 'the number of the object type in Customer.io, such as "1"',
    "name": "what these events are called",
    "from": "the column that holds it",
    "format": "how these timestamps are written",
    "timezone": 'an IANA name such as "America/New_York", or "UTC"',
    "header": "the names of the columns, in a list",
    "encoding": 'what the program writes, such as "cp1252", "cp1251" or "cp932"',
}
"""The keys of a source that may be open, and what is to be decided where no comment says it."""

_KEY = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z0-9_-]+)\s*=')
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT = re.compile(r'(?:[^#"]|"(?:[^"\\]|\\.)*")*#\s*(.*)')
_SUGGESTION = re.compile(r'#\s*("[^"]*"|[A-Za-z0-9_.-]+)\s*=\s')

Tables = Mapping[str, type[BaseModel]]
"""The table below a key; the whole file below the empty one."""

_KIND_AT = 2
_OF_TIMESTAMPS = ("timezone", "zones", "pivot", "ambiguous", "nonexistent")
_BRANCHES = ("str", "FromColumn")
"""What pydantic adds to a location: the kind behind `source[n]`, the branch behind `name`."""

_SENTENCES = {
    "string_type": "must be text in quotes",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_too_long": "must have {max_length} character at most",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "tuple_type": 'must be a list, such as ["…"]',
    "list_type": 'must be a list, such as ["…"]',
    "dict_type": "must be a table, such as {{ … }}",
    "mapping_type": "must be a table, such as {{ … }}",
    "model_type": "must be a table, such as {{ … }}",
    "model_attributes_type": "must be a table, such as {{ … }}",
}
"""What pydantic says in words of Python, by the type of its error."""


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


def mistakes(error: ValidationError, tables: Tables) -> list[str]:
    """Every mistake, each named once.

    Args:
        error: What the settings say of the file.
        tables: Which keys there are, for the nearest right one.
    """
    # pydantic names a mistake once for each branch of a union that it tried.
    found = (f"{_key(each['loc'])}: {_sentence(each, tables)}" for each in error.errors())
    return list(dict.fromkeys(found))


def _key(location: tuple[str | int, ...]) -> str:
    text = ""
    for place, part in enumerate(location):
        if (place == _KIND_AT and part in KINDS) or part in _BRANCHES:
            continue
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _sentence(each: Any, tables: Tables) -> str:
    kind, location = each["type"], each["loc"]
    if kind == "extra_forbidden":
        return _unknown_key(location, tables)
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        return f"must be one of {each['ctx']['expected']}"
    if kind.startswith("union_tag"):
        return "kind must be one of " + ", ".join(f'"{each}"' for each in KINDS)
    if kind == "value_error":
        return str(each["ctx"]["error"])
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(**each.get("ctx", {}))
    return str(each["msg"]).replace("Input should", "should")


def _unknown_key(location: tuple[str | int, ...], tables: Tables) -> str:
    """Where a key belongs that its table does not have."""
    if location[0] == "source" and len(location) == _KIND_AT + 2:
        others = [each for each in KINDS if location[-1] in tables[each].model_fields]
        if others:
            return f"is a setting of {_listed(others)} only; remove it"
        if location[-1] in _OF_TIMESTAMPS:
            return "belongs inside timestamp = { … }, or a column of [source.columns]"
    near = get_close_matches(str(location[-1]), _known_keys(location, tables), 1, 0.6)
    return "no such key" + (f"; did you mean {near[0]}?" if near else "")


def _known_keys(location: tuple[str | int, ...], tables: Tables) -> list[str]:
    """The keys of the table that a wrong key stands in."""
    table, kind = tables[""], str(location[_KIND_AT]) if len(location) > _KIND_AT else ""
    for part in location[:-1]:
        # An object's identifier has other keys than a person's.
        table = tables.get(f"{kind}.{part}") or tables.get(str(part), table)
        if part == "columns":
            break
    return [field.alias or name for name, field in table.model_fields.items() if name != "path"]
