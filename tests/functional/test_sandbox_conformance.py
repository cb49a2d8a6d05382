"""Every operation of the published description: its example is accepted, each omission refused.

`track-api.openapi.json` beside this file is the published description without its prose. The
examples are made from it here, so that nobody's memory stands between the two.
"""

import json
from itertools import product
from pathlib import Path

import httpx
import pytest

from backfill.sandbox import running

SPEC = json.loads(Path(__file__).with_name("track-api.openapi.json").read_text())
AUTH = ("sandbox", "sandbox")
IN_PATH = {
    "identifier": "x",
    "segment_id": "7",
    "form_id": "form1",
    "delivery_id": "d1",
    "device_id": "tok",
}
SLIPS = {
    # the description asks for it at an identified screen view, which has a person already
    ("POST", "/api/v1/customers/{identifier}/events", "anonymous_id"),
}


def resolved(schema):
    """The schema behind references."""
    while "$ref" in schema:
        _, _, kind, name = schema["$ref"].split("/")
        schema = SPEC["components"][kind][name]
    return schema


def variants(schema):
    """Every way to satisfy a schema, each as one object with properties and required keys."""
    schema = resolved(schema)
    own = {"properties": schema.get("properties", {}), "required": schema.get("required", [])}
    own = {**schema, **own}
    choices = [variants(part) for part in schema.get("allOf", [])]
    choices += [
        [way for part in schema[key] for way in variants(part)]
        for key in ("oneOf", "anyOf")
        if schema.get(key)
    ]
    return [merged(own, *parts) for parts in product(*choices)]


def merged(*parts):
    """One object schema that asks for everything that any of them asks for."""
    properties, required = {}, []
    for part in parts:
        properties |= part["properties"]
        required += part["required"]
    kinds = [part["type"] for part in parts if "type" in part]
    return {**parts[0], "properties": properties, "required": required, "type": (*kinds, None)[0]}


def example(schema, *, whole):
    """A value that satisfies the first way of a schema; with optional keys if it is `whole`.

    The description forgets to require identifiers here and there, and something in them.
    """
    way = variants(schema)[0]
    kind = way["type"] if isinstance(way["type"], str) else (way["type"] or ["object"])[0]
    if "enum" in way:
        return way["enum"][0]
    if kind == "object":
        needed = (
            {*way["required"], "identifiers"} if way["required"] else list(way["properties"])[:1]
        )
        keys = [key for key in way["properties"] if whole or key in needed]
        keys = [key for key in keys if not resolved(way["properties"][key]).get("readOnly")]
        return {key: example(way["properties"][key], whole=whole) for key in keys}
    if kind == "array":
        return [example(way.get("items", {}), whole=whole)]
    if kind == "string":
        formats = {"email": "ann@example.com", "ulid": "0" * 26}
        return formats.get(way.get("format", "").lower(), str(way.get("example", "x")))
    return {"integer": 1_700_000_000, "boolean": True, "null": None}[kind]


def body_of(way, *, whole):
    """An example of one way to fill a body."""
    return example({**way, "allOf": [], "oneOf": [], "anyOf": []}, whole=whole)


def required_paths(way, prefix=()):
    """Every key that must be there, as a path, also in objects that must be there."""
    for key in way["required"]:
        yield (*prefix, key)
        inner = variants(way["properties"].get(key, {}))[0]
        yield from required_paths(inner, (*prefix, key))


def without(body, path):
    """The body, one key less."""
    copy = json.loads(json.dumps(body))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return copy


def satisfies(way, needed, body):
    """Whether a body has the paths that one way of filling it needs, and its constants."""
    for path in needed:
        inner = body
        for key in path:
            if not isinstance(inner, dict) or key not in inner:
                return False
            inner = inner[key]
    return all(
        value in resolved(way["properties"].get(key, {})).get("enum", [value])
        for key, value in body.items()
        if isinstance(value, str)
    )


def operations():
    """Method, path, schema of the body and the status of success of each operation."""
    for path, item in SPEC["paths"].items():
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete"):
                content = operation.get("requestBody", {}).get("content", {})
                schema = content.get("application/json", {}).get("schema")
                yield method.upper(), path, schema, min(operation["responses"])


def cases():
    """Every way to call every operation; batches are made of what an entity may be."""
    for method, path, schema, ok in operations():
        if path == "/api/v2/batch":
            continue
        for number, way in enumerate(variants(schema) if schema else [None]):
            action = way and way["properties"].get("action", {}).get("enum", [""])[0]
            name = f"{method} {path} {number} {action or ''}".strip()
            yield pytest.param(method, path, way, int(ok), id=name)


def omissions():
    """Every body that lacks one thing; whether another way to call takes it all the same."""
    for method, path, schema, _ in operations():
        if path == "/api/v2/batch" or schema is None:
            continue
        ways = [(way, list(dict.fromkeys(required_paths(way)))) for way in variants(schema)]
        for number, (way, needed) in enumerate(ways):
            for gone in needed:
                body = without(body_of(way, whole=False), gone)
                is_fine = any(satisfies(*other, body) for other in ways)
                if not is_fine and (method, path, gone[-1]) not in SLIPS:
                    name = f"{method} {path} {number} without {'.'.join(gone)}"
                    yield pytest.param(method, path, body, id=name)


@pytest.fixture(scope="module")
def workspace():
    """A sandbox, spoken to as its owner."""
    with running() as sandbox, httpx.Client(base_url=sandbox.url, auth=AUTH) as client:
        yield client


@pytest.fixture
def client(workspace):
    """The sandbox of this file, empty."""
    workspace.post("/sandbox/reset").raise_for_status()
    return workspace


def call(client, method, path, body):
    """One request with an example of each parameter."""
    return client.request(method, path.format(**IN_PATH), json=body)


@pytest.mark.parametrize(("method", "path", "way", "ok"), list(cases()))
def test_an_example_is_accepted(client, method, path, way, ok):
    """With the required keys alone, and with every key there is."""
    for whole in (False, True):
        body = way and body_of(way, whole=whole)
        answer = call(client, method, path, body)
        assert answer.status_code == ok, (body, answer.text)
        if path == "/api/v2/entity":
            batch = call(client, method, "/api/v2/batch", {"batch": [body, body]})
            assert (batch.status_code, batch.content) == (200, b"{}\n")
    assert client.get("/sandbox/stats").json()["rejected_operations"] == 0


@pytest.mark.parametrize(("method", "path", "body"), list(omissions()))
def test_an_omission_is_refused(client, method, path, body):
    """400 in the shape of its version of the API; in a batch the item alone is refused."""
    answer = call(client, method, path, body)

    assert answer.status_code == 400, body
    if path == "/api/v2/entity":
        assert {"reason", "field", "message"} == set(answer.json()["errors"][0])
        good = {"type": "person", "action": "identify", "identifiers": {"id": "1"}}
        batch = call(client, method, "/api/v2/batch", {"batch": [good, body]})
        assert batch.status_code == 207
        assert {error["batch_index"] for error in batch.json()["errors"]} == {1}
    elif path.endswith("merge_customers"):
        assert isinstance(answer.json()["meta"]["error"], str)
    else:
        assert all(isinstance(error, str) for error in answer.json()["meta"]["errors"])


@pytest.mark.parametrize(
    ("method", "path"),
    [(m, p) for m, p, _, _ in operations() if SPEC["paths"][p][m.lower()].get("security")],
)
def test_without_the_key_nothing_is_done(client, method, path):
    """401 everywhere that credentials are asked for."""
    answer = httpx.request(method, f"{client.base_url}{path.format(**IN_PATH)}", json={})

    assert answer.status_code == 401
    assert client.get("/sandbox/stats").json()["operations"] == 0


def test_other_methods_and_paths_are_refused(client):
    """404 and 405, in the shape of their version."""
    for path, status in {"customers/1": 405, "nothing": 404, "accounts/region": 405}.items():
        answer = client.post(f"/api/v1/{path}")
        assert (answer.status_code, set(answer.json())) == (status, {"meta"})
    for path, status in {"batch": 405, "nothing": 404}.items():
        answer = client.get(f"/api/v2/{path}")
        assert (answer.status_code, set(answer.json())) == (status, {"errors"})
