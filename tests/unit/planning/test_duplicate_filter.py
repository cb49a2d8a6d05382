"""The sieve lets no event through that could repeat another, and hardly one that could not."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from backfill.operations.encode import Accepted, Members
from backfill.planning.duplicate_filter import HASHED_BYTES_MAX, DuplicateFilter, event_hashes

TEXT = st.text(max_size=20)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "aa", "a@x.y", "A@x.y"]) | TEXT,
        st.sampled_from(["", "a", "seen", "seen "]) | TEXT,
        st.sampled_from([0, 1, -1, 2**32]) | st.integers(-(2**62), 2**62),
    ),
    max_size=30,
)


def accepted(events, key=None):
    """Accepted events: person, name, moment."""
    people, names, micros = zip(*events, strict=True) if events else ((), (), ())
    return Accepted(
        np.arange(1, len(events) + 1),
        pa.array(people, pa.string()),
        Members((), len(events)),
        pa.array(names, pa.string()),
        pa.array(micros, pa.int64()),
        None if key is None else pa.array(key, pa.string()),
    )


def numbers(identifier_type, events):
    """The numbers of accepted events."""
    return event_hashes(identifier_type, events, events.name.dictionary_encode())


def classes(values):
    """Which places hold the same value, as the first of them for each."""
    values = list(values)
    return [values.index(each) for each in values]


@given(EVENTS)
def test_events_share_a_number_where_person_name_and_moment_are_the_same(events):
    """The length of each text counts, and which of them it stands in."""
    assert classes(numbers("id", accepted(events)).tolist()) == classes(events)


@given(EVENTS)
def test_an_email_is_the_same_in_any_case(events):
    """It is the same person."""
    folded = [(person.lower(), name, micros) for person, name, micros in events]
    assert classes(numbers("email", accepted(events)).tolist()) == classes(folded)


@given(EVENTS, st.data())
def test_a_key_counts_in_the_place_of_the_moment(events, data):
    """Events of one key are compared, whenever they happened."""
    some = st.sampled_from(['["1"]', '["2"]', '["11"]'])
    key = data.draw(st.lists(some, min_size=len(events), max_size=len(events)))
    truth = [(person, name, one) for (person, name, _), one in zip(events, key, strict=True)]
    assert classes(numbers("id", accepted(events, key)).tolist()) == classes(truth)


@given(EVENTS, st.integers(0, 10), st.integers(0, 10))
def test_a_number_does_not_depend_on_the_neighbours(events, first, count):
    """Rows of one chunk or of another: a slice of a column is a column."""
    whole = accepted(events)
    here = slice(first, first + count)
    piece = replace(
        whole, person=whole.person[here], name=whole.name[here], micros=whole.micros[here]
    )
    assert numbers("id", piece).tolist() == numbers("id", whole)[here].tolist()


def test_texts_that_differ_far_behind_only_cost_a_look():
    """So many bytes are looked at: what differs behind them is compared as if it might repeat."""
    same = "x" * HASHED_BYTES_MAX
    events = [(same + "1", "n", 0), (same + "2", "n", 0), (same[1:] + "3", "n", 0)]
    first, second, other = numbers("id", accepted(events)).tolist()
    assert first == second != other


def test_numbers_of_like_events_do_not_collide():
    """A hundred thousand customers with an event a second: nothing of it has to be compared."""
    people = [f"{number:08d}" for number in range(100_000)]
    timestamps = np.arange(100_000) * 1_000_000 + 1_600_000_000_000_000
    events = accepted([("", "seen", int(each)) for each in timestamps])
    assert len(np.unique(numbers("id", replace(events, person=pa.array(people))))) == 100_000
    moved = replace(events, micros=pa.array(timestamps[::-1].copy()), person=pa.array(people))
    assert len(np.unique(numbers("id", moved))) == 100_000


@given(
    st.lists(st.lists(st.integers(0, 12), max_size=20), max_size=3),
    st.sampled_from([1, 5, 10**6]),
    st.sampled_from([0, 10**6]),
)
def test_rows_are_kept_whose_number_another_row_has(
    tmp_path_factory, parts, buffered_max, large_min
):
    """In whatever part, in memory or on disk, together or a slice at a time."""
    sieve = DuplicateFilter(tmp_path_factory.mktemp("plan") / "sieve", buffered_max, large_min)
    for part, some in enumerate(parts, 1):
        sieve.add(np.array(some, np.uint64), part, np.arange(1, len(some) + 1))
    counted = Counter(number for some in parts for number in some)
    kept = [[counted[number] > 1 for number in some] for some in parts]
    with ThreadPoolExecutor(2) as pool:
        assert sieve.resolve(pool) == {part for part, some in enumerate(kept, 1) if any(some)}
    for part, some in enumerate(kept, 1):
        assert sieve.may_repeat(part, np.arange(1, len(some) + 1)).tolist() == some
