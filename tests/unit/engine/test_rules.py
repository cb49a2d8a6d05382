"""Each reason why an accepted row is not sent: what stays, and what becomes of the others."""

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.encoding.rejected_cells import rejections
from backfill.engine import prepare as rules
from backfill.engine.prepare import RULES, Case, LeftOut, leave_out, not_noted
from backfill.journal import Ranges
from backfill.judge.chunk_judge import JudgedChunk
from backfill.operations.encode import Accepted, Members
from backfill.pipeline.source_settings import CustomersSource, EventsSource
from backfill.planning.merged_people import members_of
from backfill.planning.row_decisions import SKIPPED, RowDecision, RowTable, unmarked
from backfill.rows import Chunk, Position, reason
from backfill.sources.layout import AttributeNames
from backfill.sync.differences import REFUSED_FILE, ROWS_FOLDER, Changes, RowChange
from tests.support.inputs import an_input

NOW_S = 1_750_000_000
SINCE_US = (NOW_S - 72 * 3600) * 10**6
PART = 4
CUSTOMERS = CustomersSource(kind="customers", files=("f",), identifier={"id": "who"})


def events(**more):
    """An events source."""
    given_settings = {"identifier": {"id": "who"}, "name": "seen", "timestamp": {"from": "at"}}
    return EventsSource(kind="events", files=("f",), **given_settings, **more)


def accepted(count, marks=None, micros=None):
    """Rows 1 to `count`; `marks` has the kind, value and other of some of them by row."""
    rows = np.arange(1, count + 1)
    people = pa.array([f"p{row}" for row in rows])
    members = Members.of_text(pa.array([f'"n":{row}' for row in rows]))
    decided = None
    if marks is not None:
        decided = unmarked(rows)
        for row, (kind, value, other) in marks.items():
            decided[row - 1] = (row, value, other, kind)
    micros = None if micros is None else pa.array(micros, pa.int64())
    return Accepted(rows, people, members, micros=micros, decided=decided)


def chunk(count):
    """The same rows as they were read."""
    batch = pa.RecordBatch.from_arrays([pa.array([f"p{n}" for n in range(count)])], ["who"])
    return Chunk(1, batch, np.arange(1, count + 1), None, (), Position(count + 1), "text")


def case(
    count=4, source=CUSTOMERS, dropped=(), rejected=(), settled=(), said_of=None, changes=None
):
    """What the rules know of these rows."""
    read = chunk(count)
    why = (reason("required_missing", "who"),)
    judged = JudgedChunk(
        an_input(PART, "f"),
        read,
        read,
        {"transform": np.array(dropped, np.int64)} if dropped else {},
        accepted(count),
        rejections(read, np.array(rejected, np.int64), [why] * len(rejected)),
        pa.array([], pa.string()),
        AttributeNames(),
        None,
    )
    done = Ranges()
    for row in settled:
        done.settle(row, row + 1)
    return Case(judged, source, "v2", done, NOW_S, said_of, changes)


def rows_of(found):
    """The rows that stay; the skipped ones by reason; the codes of the rejected ones."""
    stays, left_out = found
    skipped = {why: rows.tolist() for why, rows in left_out.skipped.items()}
    rejected = {each.row: [why.code for why in each.reasons] for each in left_out.rejections}
    return stays.rows.tolist(), skipped, rejected


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_that_leaves_nothing_out_gives_the_very_rows(rule):
    """Nothing is copied in the usual case, with or without decisions about other rows."""
    for rows in (accepted(4), accepted(4, {}), accepted(4, {2: (RowDecision.OCCURRENCE, 1, 0)})):
        stays, left_out = rule(rows, case())
        assert stays is rows
        assert left_out == LeftOut()


def test_settled_rows_are_left_out_without_a_word():
    """What became of them stands in the journal."""
    assert rows_of(rules.settled(accepted(4), case(settled=(1, 3)))) == ([2, 4], {}, {})


def test_rows_that_are_no_good_are_rejected_once():
    """Those that were settled before are not rejected again."""
    found = rules.rejected(accepted(4), case(rejected=(2, 3), settled=(2,)))
    assert rows_of(found) == ([1, 2, 3, 4], {}, {3: ["required_missing"]})


def test_rows_that_the_transform_drops_are_skipped_once():
    """Those that were settled before are not skipped again."""
    found = rules.dropped(accepted(4), case(dropped=(2, 3), settled=(2,)))
    assert rows_of(found) == ([1, 2, 3, 4], {"transform": [3]}, {})


@pytest.mark.parametrize(("mark", "why"), SKIPPED.items())
def test_rows_that_repeat_another_are_skipped_by_what_repeats(mark, why):
    """Identical rows, keys, people, e-mail addresses."""
    found = rules.repeated(accepted(4, {2: (mark, 0, 0), 4: (mark, 0, 0)}), case())
    assert rows_of(found) == ([1, 3], {why: [2, 4]}, {})


def test_an_event_about_nobody_who_is_known_is_rejected_for_its_identifier():
    """The reason names the column."""
    found = rules.unknown(accepted(3, {2: (RowDecision.UNKNOWN_PERSON, 0, 0)}), case())
    assert rows_of(found) == ([1, 3], {}, {2: ["unknown_person"]})
    assert [why.field for why in found[1].rejections[0].reasons] == ["who"]


def test_a_row_whose_person_another_row_carries_waits_for_that_one():
    """Be it in this file or in another."""
    marks = {
        1: (RowDecision.CARRIER, 0, 0),
        2: (RowDecision.MERGED, 1, PART),
        3: (RowDecision.MERGED, 9, 2),
    }
    stays, left_out = rules.merged(accepted(3, marks), case())
    assert stays.rows.tolist() == [1]
    carried = {
        (each.part, row): (each.carrier_part, carrier)
        for each in left_out.merged
        for row, carrier in zip(each.rows.tolist(), each.carriers.tolist(), strict=True)
    }
    assert carried == {(PART, 2): (PART, 1), (PART, 3): (2, 9)}


def test_a_row_that_carries_its_person_says_all_that_the_person_has():
    """Rows of people who stand in one row say what they said."""
    asked = []

    def said_of(part, rows):
        asked.append((part, rows.tolist()))
        return ['"all":1']

    found = rules.too_large(accepted(3, {2: (RowDecision.CARRIER, 0, 0)}), case(said_of=said_of))
    assert rows_of(found) == ([1, 2, 3], {}, {})
    assert found[0].attributes.to_pylist() == ['"n":1', '"all":1', '"n":3']
    assert asked == [(PART, [2])]


@pytest.mark.parametrize(
    "person", [{"a": "x" * 32_000}, {f"a{n}": n for n in range(301)}], ids=["bytes", "attributes"]
)
def test_people_who_are_too_much_for_the_api_are_rejected(person):
    """Too many bytes, or too many attributes: their other rows will share the reason."""
    marks = {2: (RowDecision.CARRIER, 0, 0), 3: (RowDecision.CARRIER, 0, 0)}
    said = [members_of(person), '"fits":1']
    found = rules.too_large(accepted(3, marks), case(said_of=lambda *_: said))
    assert rows_of(found) == ([1, 3], {}, {2: ["too_large_merged"]})
    assert found[0].attributes.to_pylist() == ['"n":1', '"fits":1']


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=5))
def test_events_are_left_out_while_they_are_recent_to_the_microsecond(offsets):
    """Skipped with a reason, or held without one; where they are wanted, sent."""
    rows = accepted(len(offsets), micros=[SINCE_US + each for each in offsets])
    young = [row for row, each in enumerate(offsets, 1) if each >= 0]
    old = [row for row, each in enumerate(offsets, 1) if each < 0]
    asked = {answer: rules.recent(rows, case(source=events(recent_events=answer)))
             for answer in ("skip", "hold", "send", "refuse")}  # fmt: skip

    assert rows_of(asked["skip"]) == (old, {"recent_event": young} if young else {}, {})
    assert rows_of(asked["hold"]) == (old, {}, {})
    assert [each.held for _, each in asked.values()] == [0, len(young), 0, 0]
    assert asked["send"][0] is asked["refuse"][0] is rows


@pytest.fixture
def changes(tmp_path):
    """Row 1 has changed, row 2 was refused, row 3 is as before; of all others nothing is noted."""
    marks = RowTable(tmp_path / ROWS_FOLDER)
    noted = {1: RowChange.CHANGED, 2: RowChange.REFUSED_BEFORE, 3: RowChange.UNCHANGED}
    for row, kind in noted.items():
        marks.add(kind, np.array([PART], np.int32), np.array([row]))
    marks.flush()
    why = orjson.dumps([["invalid", "email", "It is none."]]).decode()
    refused = {"part": [PART], "row": [2], "reasons": [why]}
    pq.write_table(pa.table(refused), tmp_path / REFUSED_FILE)
    return Changes(tmp_path, {PART: "before_window"})


def test_in_a_sync_only_those_are_sent_who_have_changed(changes):
    """Whoever is as when the API refused them is listed again, for the same reason."""
    found = rules.unchanged(accepted(4), case(changes=changes))
    skipped = {"before_window": [4], "unchanged": [3]}
    assert rows_of(found) == ([1], skipped, {2: ["invalid"]})


def test_in_a_sync_the_rows_of_a_person_share_the_fate_of_the_one_that_carries_them(changes):
    """Merged rows stay with a carrier that changed or was refused, and go with one that did not.

    Rows about which something else was decided are left to the other rules.
    """
    marks = {
        4: (RowDecision.MERGED, 1, PART),
        5: (RowDecision.MERGED, 2, PART),
        6: (RowDecision.MERGED, 3, PART),
        7: (RowDecision.MERGED, 9, PART),
        8: (RowDecision.IDENTICAL, 0, 0),
    }
    found = rules.unchanged(accepted(8, marks), case(8, changes=changes))
    skipped = {"before_window": [7], "unchanged": [3, 6]}
    assert rows_of(found) == ([1, 4, 5, 8], skipped, {2: ["invalid"]})


def test_a_part_that_is_not_compared_is_sent_whole(tmp_path):
    """Each night brings files of its own."""
    rows = accepted(4)
    assert rules.unchanged(rows, case(changes=Changes(tmp_path, {})))[0] is rows


def test_rows_of_which_nothing_is_noted_need_not_be_judged(changes):
    """The same rows are left out as by the rule, settled ones without a word."""
    decided = unmarked(np.arange(1, 7))
    decided["kind"][4] = RowDecision.MERGED
    settled = Ranges(2)
    some, left_out = not_noted(chunk(6), an_input(PART, "f"), changes, settled, decided)
    assert some.rows.tolist() == [2, 3, 5]
    assert {why: rows.tolist() for why, rows in left_out.skipped.items()} == {
        "before_window": [4, 6]
    }


def test_a_row_is_asked_about_until_a_rule_leaves_it_out():
    """Each row has one end, whatever else could be said of it."""
    marks = {
        1: (RowDecision.IDENTICAL, 0, 0),
        2: (RowDecision.UNKNOWN_PERSON, 0, 0),
        3: (RowDecision.IDENTICAL, 0, 0),
        4: (RowDecision.OCCURRENCE, 1, 0),
    }
    rows = accepted(6, marks, [SINCE_US] * 4 + [SINCE_US - 1] * 2)
    about = case(6, events(recent_events="skip"), dropped=(9,), rejected=(), settled=(3, 6))
    found = leave_out(rows, about)
    skipped = {"identical_row": [1], "transform": [9], "recent_event": [4]}
    assert rows_of(found) == ([5], skipped, {2: ["unknown_person"]})


def test_what_two_rules_skip_for_one_reason_counts_together():
    """In the order of the rows, which the journal needs."""
    left_out = LeftOut({"unchanged": np.array([4, 9])}, held=1)
    left_out.add(LeftOut({"unchanged": np.array([2, 5]), "where": np.array([3])}, held=2))
    assert {why: rows.tolist() for why, rows in left_out.skipped.items()} == {
        "unchanged": [2, 4, 5, 9],
        "where": [3],
    }
    assert left_out.held == 3
