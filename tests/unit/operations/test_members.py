"""What rows say as JSON members: as many bytes as the text that is put together when asked for."""

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from backfill.encoding.json_text import AT_ONCE_MAX, join
from backfill.operations.encode import Member, Members

TEXTS = st.sampled_from(["", "1", "true", "ü", "10 °C"]) | st.none()


@st.composite
def some_members(draw):
    """Members of up to four rows: some everywhere, some nowhere, some here and there."""
    count = draw(st.integers(0, 4))
    columns = []
    for name in "aäbcdefgz"[: draw(st.integers(0, 3) | st.just(9))]:
        texts = draw(st.lists(TEXTS, min_size=count, max_size=count))
        quote = draw(st.sampled_from(['"', ""]))
        columns.append(Member(f'"{name}":{quote}', pa.array(texts, pa.string()), quote))
    return Members(tuple(columns), count)


def written(members):
    """The text as a row after the other would be written."""
    return [
        ",".join(
            f"{each.opening}{value}{each.closing}"
            for each in members.columns
            if (value := each.value[row].as_py()) is not None
        )
        for row in range(members.count)
    ]


@given(some_members())
def test_the_text_is_every_member_that_says_something(members):
    """Commas between them, none where nothing is said."""
    assert members.text.to_pylist() == written(members)


@given(some_members())
def test_lengths_are_those_of_the_text(members):
    """In bytes of UTF-8, whether the text was asked for or not."""
    lengths = members.lengths.tolist()
    assert lengths == pc.binary_length(members.text).to_pylist()
    assert lengths == Members.of_text(members.text).lengths.tolist()


@given(some_members(), st.booleans(), st.data())
def test_rows_keep_what_they_say_when_they_are_taken(members, asked_for, data):
    """Before the text is put together or after it."""
    places = st.lists(st.integers(0, max(members.count - 1, 0)), max_size=4 * members.count)
    at = data.draw(places)
    if asked_for:
        assert len(members.text) == members.count
    some = members.take(pa.array(at, pa.int64()))
    assert some.text.to_pylist() == [written(members)[place] for place in at]
    assert some.count == len(at)


def test_what_a_slice_says_is_what_its_rows_say():
    """Arrow keeps the bytes of the rows before."""
    value = pa.array(["a", None, "b", None, "c"])
    members = Members((Member("x:", value[1:4]), Member("y:", value[2:], "!")), 3)
    assert members.text.to_pylist() == ["y:b!", "x:b", "y:c!"]


def test_parts_are_joined_row_by_row_however_many_they_are():
    """Text that all rows share, next to columns of their own; nothing for a null."""
    for count in range(1, 3 * AT_ONCE_MAX):
        parts = ["<", "<", pa.array(["a", None])] * count
        assert join([*parts, ">"]).to_pylist() == ["<<a" * count + ">", "<<" * count + ">"]
