"""The memory of event ids tells new from old, however many there are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.sandbox import dedupe
from backfill.sandbox.dedupe import SeenEventIds


def ids(*numbers):
    """Event ids for numbers."""
    return [f"{number:026d}" for number in numbers]


def test_an_id_is_new_once():
    """Also within one batch."""
    memory = SeenEventIds()

    assert memory.admit(ids(1, 2, 1), 0) == [True, True, False]
    assert memory.admit(ids(2, 3), 0) == [False, True]


def test_without_a_window_every_id_is_new():
    """A window of nothing remembers nothing."""
    memory = SeenEventIds(0)

    assert memory.admit(ids(1, 1), 0) == [True, True]


def test_an_id_is_new_again_after_the_window():
    """The first sight counts, not the last."""
    memory = SeenEventIds(100)

    assert memory.admit(ids(1), 1000) == [True]
    assert memory.admit(ids(1), 1099) == [False]
    assert memory.admit(ids(1), 1101) == [True]
    assert memory.admit(ids(1), 1102) == [False]


def test_remembered_ids_are_old():
    """After a restart the ids of before are taken in."""
    memory = SeenEventIds()
    memory.remember(ids(1, 2), [5.0, 6.0])

    assert memory.admit(ids(1, 2, 3), 7) == [False, False, True]


@pytest.mark.parametrize("window_s", [None, 20])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_agrees_with_a_dictionary(window_s, data):
    """Over many batches, with runs being made and merged all the time."""
    number = st.integers(min_value=0, max_value=40)
    batches = data.draw(st.lists(st.lists(number, max_size=20), max_size=30))
    first_seen = {}
    memory = SeenEventIds(window_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedupe, "YOUNG_MAX", 4)
        for now_s, batch in enumerate(batches, start=1):
            expected = []
            for key in batch:
                at_s = first_seen.get(key)
                is_new = at_s is None or (window_s is not None and at_s <= now_s - window_s)
                expected.append(is_new)
                if is_new:
                    first_seen[key] = now_s
            assert memory.admit(ids(*batch), now_s) == expected


@pytest.fixture(params=[1, 3, 65_536])
def runs(request, monkeypatch):
    """A memory that makes runs at once, soon, or not in a test."""
    monkeypatch.setattr(dedupe, "YOUNG_MAX", request.param)


@pytest.mark.usefixtures("runs")
def test_the_window_ends_to_the_second():
    """Remembered for its seconds, and new in the next one; in runs as among the young."""
    memory = SeenEventIds(100)
    memory.admit(ids(1), 1000)

    assert memory.admit(ids(1), 1099.9) == [False]
    assert memory.admit(ids(1), 1100) == [True]


@pytest.mark.usefixtures("runs")
def test_of_several_sights_the_latest_counts():
    """Runs that are merged keep it, and so does a memory after a restart."""
    memory, restarted = SeenEventIds(100), SeenEventIds(100)
    for second in (1000, 1100, 1200, 1300):
        assert memory.admit(ids(1, second), second) == [True, True]
        restarted.remember(ids(1, second), [float(second)] * 2)

    for each in (memory, restarted):
        assert each.admit(ids(1), 1399) == [False]
        assert each.admit(ids(1), 1400) == [True]
