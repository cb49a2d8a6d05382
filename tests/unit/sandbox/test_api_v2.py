"""Reading v2's JSON: the short way for ordinary events says what the long way says."""

from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.sandbox.api_v2 import read_any_item, read_item
from backfill.sandbox.behaviour import Behaviour

ULID = "01HB4HBDKTFWYZCK01DMRSWRFD"
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=200),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
NAMES = st.one_of(st.text(max_size=160), st.sampled_from(["bought", " bought", "a\n", "é", ""]))
ATTRIBUTES = st.dictionaries(st.text(max_size=200), st.one_of(ODD, st.text(min_size=900)))
EVENTS = st.fixed_dictionaries(
    {
        "type": st.just("person"),
        "action": st.sampled_from(["event", "page"]),
        "identifiers": st.one_of(
            st.fixed_dictionaries({"id": st.one_of(NAMES, st.integers())}),
            st.fixed_dictionaries({"id": NAMES, "email": NAMES}),
            ODD,
        ),
        "name": st.one_of(NAMES, ODD),
        "timestamp": st.one_of(st.integers(-5, 2 * 10**11), ODD),
        "id": st.one_of(st.sampled_from([ULID, ULID.lower(), "8" + ULID[1:]]), ODD),
        "attributes": st.one_of(ATTRIBUTES, ODD),
    },
    optional={"anything": ODD},
)


@settings(deadline=None)
@given(EVENTS, st.sampled_from([Behaviour(), Behaviour(event_values_limited=True)]))
def test_the_short_way_says_what_the_long_way_says(item, behaviour):
    """For every event, ordinary or not, and whatever the switches say."""
    assert read_item(item, behaviour) == read_any_item(item, behaviour)


@settings(deadline=None)
@given(st.recursive(ODD, lambda inner: st.dictionaries(st.text(max_size=11), inner)))
def test_anything_is_an_operation_or_its_refusal(item):
    """No JSON value makes the reader fail."""
    operation = read_item(item, Behaviour())

    assert operation.problems or operation.kind != "unknown"
