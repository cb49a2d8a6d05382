"""The Track API's limits, and the parts that both of its versions share.

Limits are bytes of UTF-8, never characters. Where a function takes `problems`, it adds to the list
what is wrong, so that an answer can say everything at once.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from backfill.sandbox.behaviour import Behaviour
from backfill.sandbox.operation import Link, Problem

# Source of every limit: OAS, the tables of limits and the descriptions of /entity and /batch.
# Whether kb is 1000 or 1024 is not said; RudderStack uses 32 * 1024 and 500,000. The smaller
# reading is the judge: what keeps to it keeps to both.
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
KEPT_LIMIT_S = 10**15  # a double keeps every whole number below it
IDENTIFIER_BYTES_MAX = {
    "id": ID_BYTES_MAX,
    "cio_id": ID_BYTES_MAX,
    "anonymous_id": ID_BYTES_MAX,
    "email": ATTRIBUTE_VALUE_BYTES_MAX,
    "phone": ATTRIBUTE_VALUE_BYTES_MAX,
}
UNCOUNTED = frozenset(
    {
        "id",
        "email",
        "cio_id",
        "anonymous_id",
        "created_at",
        "unsubscribed",
        "cio_subscription_preferences",
        "cio_relationships",
        "_timestamp",
        "_update",
    }
)
"""The control keys of an identify (OAS): no attributes where attributes are counted."""

MERGE_IDENTIFIERS = ("id", "email", "cio_id")
DEVICE_PLATFORMS = frozenset({"ios", "android"})
RELATIONSHIPS = "cio_relationships"
OBJECT_IDENTIFIERS = ("object_type_id", "object_id")

_BLANK_NAME = Problem("name", "cannot be blank", "required")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)

Named = tuple[str, str]
"""An identifier's kind, and the name itself."""

is_plain = re.compile(r"[!-~](?:[ -~]{0,98}[!-~])?").fullmatch
"""Whether a text is ASCII that no limit of a name or an identifier touches, and nothing trims."""

is_upper_ulid = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}").fullmatch
"""Whether a text is a ULID in the spelling that is kept."""


def bytes_of(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def required(field: str, value: Any) -> Problem:
    """What is wrong with a value that had to be there, and valid."""
    if value is None:
        return Problem(field, "is required", "required")
    return Problem(field, "is not valid")


def one_identifier(
    identifiers: Any, at: str, allowed: tuple[str, ...], problems: list[Problem]
) -> Named:
    """The one identifier of an object that must have exactly one.

    Args:
        identifiers: The object.
        at: Where it stands, for the problems.
        allowed: The kinds of identifier that may name somebody here.
        problems: Grows by what is wrong.

    Returns:
        The kind and the name, a number as text (seen in practice: RudderStack's transformer
        sends numbers); two empty texts where there is a problem.
    """
    if type(identifiers) is not dict or not identifiers:
        problems.append(required(at, identifiers or None))
        return "", ""
    if len(identifiers) > 1 or next(iter(identifiers)) not in allowed:
        problems.append(Problem(at, f"must have exactly one of {', '.join(allowed)}"))
        return "", ""
    ((key, value),) = identifiers.items()
    # True is an int to isinstance, and no identifier
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


def counted(attributes: Mapping[str, Any]) -> int:
    """How many attributes count toward the limit.

    >>> counted({"plan": "free", "_update": True, "cio_subscription_preferences.topics.topic_1": 1})
    1
    """
    is_topic = "cio_subscription_preferences."
    return sum(name not in UNCOUNTED and not name.startswith(is_topic) for name in attributes)


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


def attribute_problems(attributes: dict[str, Any], at: str = "attributes") -> Iterator[Problem]:
    """Names and values that are too long, and too many of them."""
    # counting costs a loop, and nobody has that many
    if len(attributes) > ATTRIBUTES_MAX and counted(attributes) > ATTRIBUTES_MAX:
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


def device_problems(device: Any, key: str, *, is_added: bool) -> Iterator[Problem]:
    """What is wrong with a device, whose token stands under `key` (v1: `id`, v2: `token`)."""
    if type(device) is not dict:
        yield required("device", device)
        return
    token, platform = device.get(key), device.get("platform")
    if type(token) is not str or not token:
        yield required(f"device.{key}", token)
    if is_added and (type(platform) is not str or platform not in DEVICE_PLATFORMS):
        yield required("device.platform", platform)


def object_name(identifiers: Any, problems: list[Problem], at: str = "identifiers") -> str | None:
    """An object's type and id in one text (`1:acme`); None where there is a problem."""
    if type(identifiers) is not dict or not identifiers:
        problems.append(required(at, identifiers or None))
        return None
    if "cio_object_id" in identifiers:
        return f"cio_object_id:{identifiers['cio_object_id']}"
    missing = [key for key in OBJECT_IDENTIFIERS if not identifiers.get(key)]
    problems.extend(Problem(f"{at}.{key}", "is required", "required") for key in missing)
    if missing:
        return None
    if bytes_of(str(identifiers["object_id"])) > ID_BYTES_MAX:
        problems.append(Problem(f"{at}.object_id", f"cannot be longer than {ID_BYTES_MAX} bytes"))
    return f"{identifiers['object_type_id']}:{identifiers['object_id']}"


def links_of(
    relationships: Any,
    problems: list[Problem],
    *,
    added: bool = True,
    thing: str | None = None,
    at: str = RELATIONSHIPS,
) -> tuple[Link, ...]:
    """The relationships in a list of them, each held to the limits of attributes.

    Args:
        relationships: The list, as it came.
        problems: Grows by what is wrong.
        added: Whether they are added or removed.
        thing: The object whose people are listed; None where a person's objects are.
        at: Where the list stands, for the problems.
    """
    if type(relationships) is not list:
        problems.append(required(at, relationships))
        return ()
    links = []
    for number, relationship in enumerate(relationships):
        where = f"{at}[{number}]"
        given = relationship if type(relationship) is dict else {}
        identifiers, attributes = given.get("identifiers"), given.get("relationship_attributes")
        if attributes is not None and type(attributes) is not dict:
            problems.append(Problem(f"{where}.relationship_attributes", "must be an object"))
        elif attributes:
            inside = f"{where}.relationship_attributes"
            problems.extend(attribute_problems(attributes, inside))
        if thing is None:
            name, named = object_name(identifiers, problems, f"{where}.identifiers"), ("", "")
        elif type(identifiers) is dict and identifiers:
            # the schema requires no identifier of a person: one that names nobody links nobody
            name, named = thing, _loose_identifier(identifiers)
        else:
            problems.append(required(f"{where}.identifiers", identifiers or None))
            continue
        if name is not None:
            links.append(Link(added, name, *named, attributes or {}))
    return tuple(links)


def _loose_identifier(identifiers: dict[str, Any]) -> Named:
    key, value = next(iter(identifiers.items()))
    return key, str(value)


def _value_bytes(value: Any) -> int:
    """A text counts as its bytes, anything nested as its JSON (measured by Hull)."""
    if isinstance(value, str):
        return bytes_of(value)
    return len(orjson.dumps(value)) if isinstance(value, list | dict) else 0


def event_name(value: Any) -> str | Problem:
    """An event's name, trimmed as the service does (OAS, `/events`)."""
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


def event_id(value: Any, behaviour: Behaviour) -> str | Problem | None:
    """An event's id in upper case, None where it has none that repeats are told by."""
    # Crockford's base32 has two cases: two spellings of an id are one event
    if value is None:
        return None
    if isinstance(value, str) and _ULID.fullmatch(value):
        return value.upper()
    return None if behaviour.bad_event_id == "ignore" else Problem("id", "must be a valid ULID")


def timestamp(body: dict[str, Any], key: str, behaviour: Behaviour) -> tuple[float | None, bool]:
    """The unix seconds under `key`, and whether something stands there that is none.

    A timestamp that is not valid is never refused: the service puts "now" in its place, without a
    word (Customer.io engineer in segmentio/action-destinations#2054). That is what a backfill
    must not fall into, so it is counted.
    """
    if key not in body:
        return None, False
    value = body[key]
    if type(value) is not int and type(value) is not float:
        return None, True
    limit = KEPT_LIMIT_S if behaviour.milliseconds == "keep" else TIMESTAMP_LIMIT_S
    if 0 <= value < limit:
        return value, False
    return None, True
