"""Ids are ULIDs of what an event is; hashes tell the same from the different."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from backfill.encoding import identity


@given(
    st.lists(
        st.tuples(st.integers(0, identity.MILLISECONDS_MAX), st.binary(min_size=10, max_size=10)),
        max_size=6,
    )
)
def test_ulids_read_back_by_another_library(pairs):
    """The time and all 80 bits."""
    made = identity.ulids(
        np.array([each for each, _ in pairs], np.int64), [pad for _, pad in pairs]
    )
    assert len(made) == len(pairs)
    for text, (milliseconds, pad) in zip(made.to_pylist(), pairs, strict=True):
        assert bytes(ULID.from_str(text)) == milliseconds.to_bytes(6, "big") + pad
        assert identity.ulid_text(milliseconds, pad) == text


@pytest.mark.parametrize(
    ("milliseconds", "clamped"),
    [(-1, 0), (-(2**62), 0), (2**48, 2**48 - 1), (2**62, 2**48 - 1)],
)
def test_timestamps_before_1970_or_after_10889_are_clamped(milliseconds, clamped):
    """An id is valid whatever the event's time."""
    text = identity.ulid_text(milliseconds, bytes(10))
    assert text == identity.ulid_text(clamped, bytes(10))
    assert ULID.from_str(text).milliseconds == clamped


def test_ids_sort_by_time():
    """As ULIDs do."""
    timestamps = [dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in range(1975, 2100, 5)]
    texts = [identity.ulid_text(int(each.timestamp() * 1000), b"\xff" * 10) for each in timestamps]
    assert texts == sorted(texts)


@given(st.binary(max_size=20), st.integers(0, 99), st.binary(max_size=20), st.integers(0, 99))
def test_every_occurrence_has_its_own_bits(one, first, other, second):
    """The n-th of identical rows is another event, and always the same one."""
    one, other = b"[%b]" % one.replace(b"#", b""), b"[%b]" % other.replace(b"#", b"")
    bits = identity.entropy(
        [identity.with_occurrence(one, first), identity.with_occurrence(other, second)]
    )
    assert all(len(each) == 10 for each in bits)
    assert (bits[0] == bits[1]) is ((one, first) == (other, second))
    assert identity.with_occurrence(one, 0) == one


def test_the_scheme_is_fixed_for_ever():
    """A change here would send every event a second time."""
    assert identity.entropy([b"an event"])[0].hex() == "072e57e6cd5e034c6cf8"


@given(st.lists(st.binary(max_size=6), max_size=20))
def test_hashes_are_equal_for_equal_values_only(values):
    """128 bits each."""
    made = identity.hashes(values)
    assert made.shape == (len(values), 2)
    assert len({tuple(each) for each in made.tolist()}) == len(set(values))


def test_only_e_mails_are_folded():
    """The API compares ids as they are."""
    people = pa.array(["Ann@B.c", "ÄÖ@x"])
    assert identity.person_key("email", people).to_pylist() == ["ann@b.c", "äö@x"]
    assert identity.person_key("id", people).equals(people)
