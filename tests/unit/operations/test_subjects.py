"""What rows are about that are more than a person's: one text for each subject, sent as it is."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.operations.encode import Accepted, Members, encode, sizes
from backfill.operations.subjects import (
    keys,
    kind_of_type,
    removal_columns,
    removal_settings,
    subject_type,
    vanishing,
)
from backfill.pipeline.file import Pipeline

OBJECT = {"kind": "objects", "object_type": 3, "identifier": {"object_id": "o"}}
RELATIONSHIP = {
    "kind": "relationships",
    "identifier": {"email": "p"},
    "object": {"type": "3", "id": "o"},
}
MERGE = {"kind": "merges", "primary": {"id": "a"}, "secondary": {"cio_id": "b"}}
PAIRS = st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=5)


def source(table):
    """The settings of one source."""
    sources = [{"files": ["f"], **table}]
    made = {"name": "n", "source": sources, "path": "/x/p.toml"}
    return Pipeline.model_validate(made).sources[0]


def rows(pairs, members=""):
    """Accepted rows, each with a person or object and what else it names."""
    first, second = (pa.array(side, pa.string()) for side in zip(*pairs, strict=True))
    text = Members.of_text(pa.array([members] * len(pairs)))
    return Accepted(np.arange(len(pairs)), first, text, target=second)


def sent(table, pairs):
    """The operations of rows, parsed; their sizes were known before."""
    settings = source(table)
    accepted = rows(pairs, "" if settings.removes else '"n":1')
    made = encode(settings, "v2", accepted, None)
    assert sizes(settings, "v2", accepted).tolist() == made.lengths.tolist()
    return [json.loads(bytes(made.json(at, at + 1))) for at in range(len(made))]


@given(PAIRS)
def test_operations_are_those_of_the_description(pairs):
    """Whatever characters names have (Track OpenAPI, `/api/v2/entity`)."""
    named = [{"object_id": other, "object_type_id": "3"} for _, other in pairs]
    related = [{"identifiers": each, "relationship_attributes": {"n": 1}} for each in named]
    assert sent(RELATIONSHIP, pairs) == [
        {
            "type": "person",
            "action": "add_relationships",
            "identifiers": {"email": person},
            "cio_relationships": [each],
        }
        for (person, _), each in zip(pairs, related, strict=True)
    ]
    assert sent({**RELATIONSHIP, "action": "remove"}, pairs) == [
        {
            "type": "person",
            "action": "delete_relationships",
            "identifiers": {"email": person},
            "cio_relationships": [{"identifiers": each}],
        }
        for (person, _), each in zip(pairs, named, strict=True)
    ]
    assert sent(OBJECT, pairs) == [
        {
            "type": "object",
            "action": "identify",
            "identifiers": {"object_id": thing, "object_type_id": "3"},
            "attributes": {"n": 1},
        }
        for thing, _ in pairs
    ]
    assert sent(MERGE, pairs) == [
        {"type": "person", "action": "merge", "primary": {"id": stay}, "secondary": {"cio_id": go}}
        for go, stay in pairs
    ]


@given(PAIRS)
def test_two_relationships_are_never_written_alike(pairs):
    """And what was written can be taken apart, for those that are removed."""
    settings, accepted = source(RELATIONSHIP), rows(pairs)
    type_ = subject_type(settings)
    texts = keys(settings, accepted.person, accepted.target)
    lower = [(person.lower(), thing) for person, thing in pairs]
    assert len(set(texts.to_pylist())) == len({*lower})
    parts = removal_columns(type_, texts)
    assert [*zip(parts["person"].to_pylist(), parts["object"].to_pylist(), strict=True)] == lower


@pytest.mark.parametrize(
    ("table", "type_", "kind"),
    [
        (OBJECT, "object 3", "objects"),
        (RELATIONSHIP, "email in object 3", "relationships"),
        ({"kind": "customers", "identifier": {"cio_id": "c"}}, "cio_id", "customers"),
    ],
)
def test_a_type_tells_its_kind(table, type_, kind):
    """A sync keeps both in one table."""
    assert subject_type(source(table)) == type_
    assert kind_of_type(type_) == kind


def test_what_vanishes_is_removed_by_a_source_of_its_type():
    """People by deletions, relationships by relationships; objects never."""
    gone = {"sync": {"vanished": "delete"}}
    people = {"kind": "customers", "identifier": {"id": "c"}}
    found = [source(each) for each in (OBJECT, people | gone, RELATIONSHIP | gone, people | gone)]
    assert vanishing(found) == {"id": 1, "email in object 3": 2}
    made = source(removal_settings("email in object 3"))
    assert (made.removes, made.identifier.email, made.object.object_type) == (True, "person", "3")
    assert source(removal_settings("id")).kind == "deletions"
