"""A person of several rows has all that they say, the later value winning."""

import json

from hypothesis import given
from hypothesis import strategies as st

from backfill.planning import merged_people
from backfill.planning.merged_people import MergedPeople

VALUE = st.none() | st.integers(0, 3) | st.text(st.characters(codec="utf-8"), max_size=3)
SAID = st.dictionaries(st.sampled_from("abc"), VALUE, max_size=3)
CARRIER = st.tuples(st.integers(1, 2), st.sampled_from([1, 2, merged_people.BUCKET_ROWS, 10**7]))


def members(said):
    """Attributes as they stand in an operation, without braces."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"))[1:-1]


@given(st.lists(st.tuples(CARRIER, SAID), max_size=12))
def test_later_values_win_and_null_replaces_nothing(tmp_path_factory, rows):
    """Field by field, over all rows of a person, in their order."""
    people = MergedPeople(tmp_path_factory.mktemp("plan") / "merged")
    truth = {}
    for (part, row), said in rows:
        people.add(part, [row], [members(said)])
        person = truth.setdefault((part, row), {})
        for name, value in said.items():
            if value is not None or name not in person:
                person[name] = value
    for (part, row), person in truth.items():
        found = people.of(part, row)
        assert json.loads(f"{{{found}}}") == person
        assert list(json.loads(f"{{{found}}}")) == sorted(person)


def test_a_person_may_have_300_attributes_and_the_control_key_is_none(tmp_path):
    """Together the rows may say more than the API takes."""
    people = MergedPeople(tmp_path)
    half = {f"a{place}": 1 for place in range(200)}
    rest = {f"b{place}": 1 for place in range(100)}
    people.add(1, [1, 1], [members({**half, "_update": True}), members(rest)])
    people.add(1, [2, 2, 2], [members(half), members(rest), members({"c": 1})])
    assert people.of(1, 1) is not None
    assert people.of(1, 2) is None


def test_digits_are_kept(tmp_path):
    """What was sent as text because no double holds it stays text."""
    people = MergedPeople(tmp_path)
    people.add(1, [1, 1], ['"n":"9007199254740993"', '"x":1.2345678901e+10'])
    assert json.loads(f"{{{people.of(1, 1)}}}") == {"n": "9007199254740993", "x": 1.2345678901e10}
