"""The Track API's limits and the parts that both versions share; every limit is in bytes."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import orjson

from backfill.sandbox.behaviour import Behaviour
from backfill.sandbox.operation import Problem

RELATIONSHIPS = "cio_relationships"
OBJECT_IDENTIFIERS = ("object_type_id", "object_id")

Named = tuple[str, str]
"""An identifier's kind, and the name itself."""


def one_identifier(
    identifiers: Any, at: str, allowed: tuple[str, ...], problems: list[Problem]
) -> Named:
    """The one identifier of an object that must have exactly one."""
    if type(identifiers) is not dict or not identifiers:
        problems.append(required(at, identifiers or None))
        return "", ""
    if len(identifiers) > 1 or next(iter(identifiers)) not in allowed:
        problems.append(Problem(at, f"must have exactly one of {', '.join(allowed)}"))
        return "", ""
    ((key, value),) = identifiers.items()
    if type(value) is int:
        value = str(value)
    if type(value) is not str:
        problems.append(Problem(f"{at}.{key}", "must be a string or a number"))
    elif not value:
        problems.append(Problem(f"{at}.{key}", "cannot be blank", "required"))
    elif bytes_of(value) > (longest := IDENTIFIER_BYTES_MAX[key]):
        problems.append(Problem(f"{at}.{key}", f"cannot be longer than {longest} bytes"))
    else:
        return key, value
    return "", ""


def attributes_of(item: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """The attributes of an item, held to the limits; none where there are none."""
    attributes = item.get("attributes")
    if attributes is None:
        return {}
    if type(attributes) is not dict:
        problems.append(Problem("attributes", "must be an object"))
        return {}
    problems.extend(attribute_problems(attributes))
    return attributes


def object_name(identifiers: Any, problems: list[Problem]) -> str | None:
    """An object's type and id in one text."""
    if type(identifiers) is not dict or not identifiers:
        problems.append(required("identifiers", identifiers or None))
        return None
    if "cio_object_id" in identifiers:
        return f"cio_object_id:{identifiers['cio_object_id']}"
    missing = [key for key in OBJECT_IDENTIFIERS if not identifiers.get(key)]
    problems.extend(Problem(f"identifiers.{key}", "is required", "required") for key in missing)
    if missing:
        return None
    name = f"{identifiers['object_type_id']}:{identifiers['object_id']}"
    if bytes_of(str(identifiers["object_id"])) > ID_BYTES_MAX:
        problems.append(Problem("identifiers.object_id", "cannot be longer than 150 bytes"))
    return name


def relationship_problems(
    relationships: Any, needed: tuple[str, ...], at: str = RELATIONSHIPS
) -> list[Problem]:
    """What is wrong with a list of relationships, each an object that names the other side."""
    if type(relationships) is not list:
        return [required(at, relationships)]
    problems = []
    for number, relationship in enumerate(relationships):
        identifiers = relationship.get("identifiers") if type(relationship) is dict else None
        where = f"{at}[{number}].identifiers"
        if type(identifiers) is not dict or not identifiers:
            problems.append(required(where, identifiers or None))
        elif needed and "cio_object_id" not in identifiers:
            problems.extend(
                Problem(f"{where}.{key}", "is required", "required")
                for key in needed
                if not identifiers.get(key)
            )
    return problems


def required(field: str, value: Any) -> Problem:
    """What is wrong with a value that had to be there, and valid."""
    if value is None:
        return Problem(field, "is required", "required")
    return Problem(field, "is not valid")


ID_BYTES_MAX = 150
ATTRIBUTE_NAME_BYTES_MAX = 150
ATTRIBUTE_VALUE_BYTES_MAX = 1_000
ATTRIBUTES_MAX = 300
EVENT_NAME_BYTES_MAX = 100
V1_EVENT_DATA_BYTES_MAX = 100_000
V2_ITEM_BYTES_MAX = 32_000
V2_REQUEST_BYTES_LIMIT = 500_000
V1_REQUEST_BYTES_MAX = 1_000_000
SEGMENT_IDS_MAX = 1_000
OBJECT_BYTES_MAX = 100_000
TIMESTAMP_LIMIT_S = 100_000_000_000
IDENTIFIER_BYTES_MAX = {
    "id": ID_BYTES_MAX,
    "cio_id": ID_BYTES_MAX,
    "anonymous_id": ID_BYTES_MAX,
    "email": ATTRIBUTE_VALUE_BYTES_MAX,
    "phone": ATTRIBUTE_VALUE_BYTES_MAX,
}

_BLANK_NAME = Problem("name", "cannot be blank", "required")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)


def bytes_of(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def attribute_problems(attributes: dict[str, Any], at: str = "attributes") -> Iterator[Problem]:
    """Names and values that are too long, and too many of them."""
    if len(attributes) > ATTRIBUTES_MAX:
        yield Problem(at, f"cannot have more than {ATTRIBUTES_MAX} attributes")
    for name, value in attributes.items():
        if bytes_of(name) > ATTRIBUTE_NAME_BYTES_MAX:
            yield Problem(
                at,
                f"property name cannot be longer than {ATTRIBUTE_NAME_BYTES_MAX} bytes",
                sentence=f"attribute name cannot be longer than {ATTRIBUTE_NAME_BYTES_MAX} bytes",
            )
        elif _value_bytes(value) > ATTRIBUTE_VALUE_BYTES_MAX:
            rule = f"cannot be longer than {ATTRIBUTE_VALUE_BYTES_MAX} bytes"
            yield Problem(
                f"{at}.{name}",
                f"property value {rule}",
                sentence=f"value for attribute '{name}' {rule}",
            )


def own_name_problems(attributes: dict[str, Any], at: str = "attributes") -> Iterator[Problem]:
    """Identifiers among a person's attributes that can name nobody."""
    for name in ("id", "email"):
        value = attributes.get(name)
        if value is None or type(value) is int:
            continue
        if type(value) is not str:
            yield Problem(f"{at}.{name}", "must be a string or a number")
        elif bytes_of(value) > IDENTIFIER_BYTES_MAX[name]:
            yield Problem(
                f"{at}.{name}", f"cannot be longer than {IDENTIFIER_BYTES_MAX[name]} bytes"
            )


def _value_bytes(value: Any) -> int:
    """A text counts as its bytes, anything nested as its JSON."""
    if isinstance(value, str):
        return bytes_of(value)
    return len(orjson.dumps(value)) if isinstance(value, list | dict) else 0


def event_name(value: Any) -> str | Problem:
    """An event's name, trimmed as the service does."""
    if value is None:
        return _BLANK_NAME
    return _trimmed(value) if type(value) is str else Problem("name", "must be a string")


@functools.lru_cache(maxsize=4096)
def _trimmed(text: str) -> str | Problem:
    name = text.strip()
    if not name:
        return _BLANK_NAME
    if bytes_of(name) > EVENT_NAME_BYTES_MAX:
        return Problem("name", f"cannot be longer than {EVENT_NAME_BYTES_MAX} bytes")
    return name


is_plain = re.compile(r"[!-~](?:[ -~]{0,98}[!-~])?").fullmatch
"""Whether a text is ASCII that no limit of a name or an identifier touches, and nothing trims."""

is_upper_ulid = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}").fullmatch
"""Whether a text is a ULID in the spelling that is kept."""


def event_id(value: Any, behaviour: Behaviour) -> str | Problem | None:
    """An event's id in upper case, None where it has none."""
    if value is None:
        return None
    if isinstance(value, str) and _ULID.fullmatch(value):
        return value.upper()
    return None if behaviour.bad_event_id == "ignore" else Problem("id", "must be a valid ULID")


def moment(body: dict[str, Any], key: str, behaviour: Behaviour) -> tuple[float | None, bool]:
    """The unix seconds under `key`, and whether something stands there that is none.

    A moment that is not valid is never refused: the service puts "now" in its place, without a
    word. That is what a backfill must not fall into, so it is counted.
    """
    if key not in body:
        return None, False
    value = body[key]
    if type(value) is not int and type(value) is not float:
        return None, True
    if 0 <= value < TIMESTAMP_LIMIT_S or (value > 0 and behaviour.milliseconds == "keep"):
        return value, False
    return None, True
