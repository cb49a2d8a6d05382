"""The parts that the operations of both versions share: identifiers, attributes, relationships.

Each takes a list and adds to it what is wrong, so that an answer can say everything at once.
"""

from typing import Any

from backfill.sandbox import limits
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
    elif limits.bytes_of(value) > (longest := limits.IDENTIFIER_BYTES_MAX[key]):
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
    problems.extend(limits.attribute_problems(attributes))
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
    if limits.bytes_of(str(identifiers["object_id"])) > limits.ID_BYTES_MAX:
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
