"""The request schemas of the published description of the Track API, as they stand.

`tests/functional/track-api.openapi.json` is that description without its prose. `NARROWER` lists
where it is narrower than what the service and its own clients do, each with the reason; nothing
else is loosened.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jsonschema_rs

SPEC = json.loads(
    (Path(__file__).parents[1] / "functional" / "track-api.openapi.json").read_text("utf-8")
)
SCHEMAS = "components/schemas"
NARROWER = {
    f"{SCHEMAS}/v2_cio_relationships/items/properties/identifiers": (
        "oneOf of three objects of which none requires its key: {id} is all three, and so none"
    ),
    f"{SCHEMAS}/object_identifiers/properties/identifiers/oneOf/0/properties/object_id": (
        "a number is accepted as an id (RudderStack sends some)"
    ),
    f"{SCHEMAS}/not_nullable_customer_id": "a number is accepted as an id (RudderStack sends some)",
    f"{SCHEMAS}/eventsRequest": (
        "a screen view of a known person requires an anonymous_id, which no client sends"
    ),
    f"{SCHEMAS}/customer_id": "a form's own example has an integer as id",
}


def _at(path: str) -> Any:
    found = SPEC
    for key in path.split("/"):
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


def _loosen() -> None:
    """Take the places of `NARROWER` as they are meant."""
    identifiers = _at(f"{SCHEMAS}/v2_cio_relationships/items/properties/identifiers")
    identifiers["anyOf"] = identifiers.pop("oneOf")
    for path in list(NARROWER)[1:3]:
        _at(path)["type"] = ["string", "integer"]
    _at(f"{SCHEMAS}/customer_id")["type"] = ["string", "integer", "null"]
    for way in _at(f"{SCHEMAS}/eventsRequest")["oneOf"]:
        way["required"] = [key for key in way["required"] if key != "anonymous_id"]


_loosen()


def _validators() -> Iterator[tuple[str, re.Pattern[str], Any]]:
    for path, item in SPEC["paths"].items():
        pattern = re.compile(re.sub(r"{[^}]*}", "[^/]+", path) + "$")
        for method, operation in item.items():
            if method not in ("get", "put", "post", "delete"):
                continue
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            whole = {**schema, "components": SPEC["components"]}
            yield method.upper(), pattern, jsonschema_rs.Draft202012Validator(whole)


VALIDATORS = list(_validators())


def violations(method: str, path: str, query: str, body: bytes) -> list[str]:
    """What in a request the published description does not allow."""
    if path.startswith("/v1/"):  # the App API's, which another description is about
        return []
    ways = [each for known, way, each in VALIDATORS if known == method and way.fullmatch(path)]
    if not ways:
        return [f"{method} {path} is not described"]
    validator = ways[0]
    id_type = parse_qs(query).get("id_type", ["id"])[0]
    found = [] if id_type in ("id", "email", "cio_id") else [f"id_type {id_type}"]
    try:
        value = json.loads(body) if body.strip() else {}
    except ValueError:
        return [*found, f"{method} {path}: the body is no JSON"]
    if validator.is_valid(value):
        return found
    if path.endswith("/batch") and isinstance(value.get("batch"), list):
        return found + [
            said
            for item in value["batch"]
            for said in violations("POST", "/api/v2/entity", "", json.dumps(item).encode())
        ]
    said = [
        f"{'.'.join(map(str, e.instance_path))}: {e.message}" for e in validator.iter_errors(value)
    ]
    return [*found, f"{method} {path}: {'; '.join(said)[:500]}: {body[:300]!r}"]
