"""Members of rows that say much are written as those of rows that say little."""

import json

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from backfill.encoding.many_members import Said, written

ROWS = st.integers(1, 5)


@st.composite
def said(draw):
    """Names, what rows say of them, and the same row by row."""
    count = draw(ROWS)
    names = draw(st.lists(st.text('ab"\u00e9', max_size=2), unique=True, min_size=1, max_size=40))
    groups, rows = [], [{} for _ in range(count)]
    for quoted in (True, False):
        some = names[: len(names) // 2] if quoted else names[len(names) // 2 :]
        cells = st.lists(st.sampled_from(["1", "x", "", None]), min_size=count, max_size=count)
        columns = [draw(cells) for _ in some]
        numbers = np.array([names.index(name) for name in some], np.int32)[:, None]
        places = np.arange(count, dtype=np.int32)[None, :]
        text = pa.array([cell for column in columns for cell in column], pa.string())
        groups.append(Said(places, numbers, text, quoted))
        for name, column in zip(some, columns, strict=True):
            for row, cell in zip(rows, column, strict=True):
                if cell is not None:
                    row[name] = f'"{cell}"' if quoted else cell
    if draw(st.booleans()):  # the same one by one, as of rows that have little in common
        groups = [Said(*each.each, each.text, each.quoted) for each in groups]
    return names, groups, rows


@given(said())
def test_members_stand_in_the_order_of_names(given_):
    """With commas between, quotes where they belong, and nothing where nothing is said."""
    names, groups, rows = given_

    expected = [
        ",".join(
            f"{json.dumps(name, ensure_ascii=False)}:{row[name]}" for name in names if name in row
        )
        for row in rows
    ]
    assert written(names, groups, len(rows)).to_pylist() == expected
