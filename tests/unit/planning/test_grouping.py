"""What belongs together over a whole job is what a naive model of all its rows says."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.encoding import identity
from backfill.pipeline.file import Pipeline
from backfill.planning.grouping import Grouping
from backfill.planning.hash_groups import make_records
from backfill.planning.row_decisions import SKIPPED, EarlierDecisions, RowDecision

ROWS_MAX = 30
PEOPLE, EMAILS = list("abcd"), ["x@y", "z@y", None]
BUFFERED = st.tuples(st.sampled_from([1, 5, 10**6]), st.sampled_from([1, 3, 10**6]))
"""How many records stay in memory, and how many are resolved at once."""


def pipeline(*sources):
    """A pipeline of these sources."""
    of_kind = {
        "customers": {},
        "events": {"name": "n", "timestamp": {"from": "t"}},
        "deletions": {},
    }
    tables = [
        {"files": ["f"], "identifier": {"id": "p"}, **of_kind[each["kind"]], **each}
        if each["kind"] in of_kind
        else {"files": ["f"], **each}
        for each in sources
    ]
    return Pipeline.model_validate({"name": "n", "source": tables, "path": "/x/p.toml"})


def hashed(texts):
    """128 bits each."""
    return identity.hashes(str(each).encode() for each in texts)


def recorded(numbered, hash_of, settled=(), content_of=None, former=None):
    """Records of (part, source, row, …) rows, one part after the other as they are read."""
    made = []
    for part, source, rows in numbered:
        numbers = np.array([number for number, _ in rows], np.int64)
        done = np.array([(part, number) in settled for number in numbers.tolist()], np.bool_)
        rank = former.ranks(part, numbers) if former else (~done).astype(np.int32)
        made.append(
            make_records(
                hashed(hash_of(row) for _, row in rows),
                numbers,
                content=content_of and hashed(content_of(row) for _, row in rows),
                part=part,
                source=source,
                settled=done,
                rank=rank,
            )
        )
    return made


def numbered(parts):
    """Rows with their numbers, part by part: part 1 and 2 are source 0, part 3 is source 1."""
    return [
        (part, 0 if part < 3 else 1, list(enumerate(rows, 1))) for part, rows in enumerate(parts, 1)
    ]


def marked(together, parts):
    """The marks of all rows: kind, value, other by part and row."""
    found = {}
    for part, rows in enumerate(parts, 1):
        marks = together.marks.of(part, np.arange(1, len(rows) + 1))
        for number in range(len(rows)) if marks is not None else ():
            kind = int(marks["kind"][number])
            if kind:
                said = (RowDecision(kind), int(marks["value"][number]), int(marks["other"][number]))
                found[part, number + 1] = said
    return found


def three(row):
    """Rows for three parts."""
    return st.tuples(*[st.lists(row, max_size=8)] * 3)


PERSON_ROW = st.tuples(st.sampled_from(PEOPLE), st.sampled_from(EMAILS))
SETTLED = st.sets(st.tuples(st.integers(1, 3), st.integers(1, 8)))


@settings(deadline=None)
@given(three(PERSON_ROW), st.sampled_from(["first", "send"]), SETTLED, BUFFERED)
def test_people_are_merged_into_their_first_row(tmp_path_factory, parts, policy, settled, buffered):
    """Also over files; settled rows and those of shared e-mails are not theirs any more."""
    settings_of = pipeline(*[{"kind": "customers", "shared_emails": policy}] * 2)
    together = Grouping(settings_of, tmp_path_factory.mktemp("plan"), *buffered)
    by_email = [
        (part, source, [each for each in rows if each[1][1]])
        for part, source, rows in numbered(parts)
    ]
    people = recorded(numbered(parts), lambda row: row[0], settled)
    emails = recorded(by_email, lambda row: row[1], settled, lambda row: row[0])
    for some, addresses in zip(people, emails, strict=True):
        together.add_people(some, some, addresses)
    found = together.resolve()

    rows = [((part, n), row) for part, _, some in numbered(parts) for n, row in some]
    rows.sort(key=lambda each: each[0] not in settled)
    owner, shared, others = {}, {}, set()
    for place, (person, email) in rows:
        if email and owner.setdefault(email, person) != person:
            shared.setdefault(email, place)
            if policy == "first":
                others.add(place)
    truth = dict.fromkeys(others, (RowDecision.SHARED_EMAIL, 0, 0))
    groups = {}
    for place, (person, _) in sorted(rows):
        if place not in settled and place not in others:
            groups.setdefault(person, []).append(place)
    for carrier, *members in (each for each in groups.values() if len(each) > 1):
        truth[carrier] = (RowDecision.CARRIER, 0, 0)
        truth.update(dict.fromkeys(members, (RowDecision.MERGED, carrier[1], carrier[0])))
    assert marked(together, parts) == truth
    assert sum(found.shared_emails.values()) == len(shared)
    assert found.merged == Counter(
        int(place[0] == 3) for place, mark in truth.items() if mark[0] == RowDecision.MERGED
    )
    left_out = Counter(
        (int(p == 3), RowDecision.SHARED_EMAIL) for p, n in others if (p, n) not in settled
    )
    assert found.skipped == left_out


EVENT_ROW = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))
"""An event's key, and the rest of it."""


def alike(parts, order=None):
    """Rows by key: place and content, in the order of reading or another one."""
    groups = {}
    for part, _, some in numbered(parts):
        for number, (key, content) in some:
            groups.setdefault(key, []).append(((part, number), content))
    for some in groups.values():
        some.sort(key=lambda each: (order(each[0]) if order else 0, each[0]))
    return groups


@settings(deadline=None)
@given(
    three(EVENT_ROW),
    st.sampled_from(["refuse", "keep", "collapse"]),
    st.sampled_from(["refuse", "first"]),
    BUFFERED,
)
def test_events_repeat_as_a_dict_of_them_says(tmp_path_factory, parts, identical, keys, buffered):
    """Identical rows, and rows of one key with other content."""
    policies = {"kind": "events", "identical_rows": identical, "repeated_keys": keys}
    together = Grouping(pipeline(policies, policies), tmp_path_factory.mktemp("plan"), *buffered)
    events = recorded(numbered(parts), lambda row: row[0], (), lambda row: row)
    for each in events:
        together.add_events(each)
    found = together.resolve()
    truth, copies, others = {}, 0, 0
    for (_, first), *later in alike(parts).values():
        for nth, (place, content) in enumerate(later, 1):
            if content != first:
                others += 1
                if keys == "first":
                    truth[place] = (RowDecision.REPEATED_KEY, 0, 0)
                continue
            copies += 1
            before = 1 + sum(content == each for _, each in later[: nth - 1])
            if identical == "keep":
                truth[place] = (RowDecision.OCCURRENCE, before, 0)
            elif identical == "collapse":
                truth[place] = (RowDecision.IDENTICAL, 0, 0)
    assert marked(together, parts) == truth
    assert sum(found.identical.values()) == copies
    assert sum(found.repeated_keys.values()) == others
    left_out = Counter((int(place[0] == 3), mark[0]) for place, mark in truth.items())
    assert found.skipped == Counter({each: n for each, n in left_out.items() if each[1] in SKIPPED})


@settings(deadline=None)
@given(
    three(st.just(("k", "x"))),
    three(st.just(("k", "x"))),
    st.sampled_from(["keep", "collapse"]),
    BUFFERED,
    st.data(),
)
def test_a_second_plan_loses_no_event_and_uses_no_number_twice(
    tmp_path_factory, parts, more, policy, buffered, data
):
    """Rows were added while some of the first ones were settled, sent or left out."""
    sources = [{"kind": "events", "identical_rows": policy}] * 2
    first = Grouping(pipeline(*sources), tmp_path_factory.mktemp("plan"), *buffered)
    for each in recorded(numbered(parts), lambda row: row[0], (), lambda row: row):
        first.add_events(each)
    first.resolve()
    before = marked(first, parts)
    places = [(part, n) for part, rows in enumerate(parts, 1) for n in range(1, len(rows) + 1)]
    settled = data.draw(st.sets(st.sampled_from(places))) if places else set()

    def number(marks, place):
        kind, value, _ = marks.get(place, (None, 0, 0))
        return None if kind in SKIPPED else value

    sent = [number(before, place) for place in places if place in settled]
    grown = [[*some, *new] for some, new in zip(parts, more, strict=True)]
    former = EarlierDecisions(first.marks, {part: len(rows) for part, rows in enumerate(parts, 1)})
    second = Grouping(pipeline(*sources), tmp_path_factory.mktemp("plan"), *buffered)
    for each in recorded(numbered(grown), lambda row: row[0], settled, lambda row: row, former):
        second.add_events(each)
    second.resolve()
    after = marked(second, grown)
    now = [
        number(after, (part, n))
        for part, rows in enumerate(grown, 1)
        for n in range(1, len(rows) + 1)
        if (part, n) not in settled
    ]
    numbers = [each for each in (*sent, *now) if each is not None]
    events = sum(map(len, grown))
    assert sorted(numbers) == list(range(events if policy == "keep" else min(events, 1)))
    for place in places:
        if place not in settled:
            assert number(after, place) == number(before, place)


@settings(deadline=None)
@given(
    three(st.sampled_from(PEOPLE)),
    st.sets(st.sampled_from(PEOPLE)),
    st.sampled_from(["refuse", "reject", "send"]),
    SETTLED,
    BUFFERED,
)
def test_unknown_people_are_those_whom_no_customers_row_names(
    tmp_path_factory, parts, named, policy, settled, buffered
):
    """A rejected customers row names its person too."""
    events = {"kind": "events", "unknown_people": policy}
    together = Grouping(
        pipeline(events, events, {"kind": "customers"}), tmp_path_factory.mktemp("plan"), *buffered
    )
    known = recorded([(9, 2, list(enumerate(sorted(named), 1)))], lambda row: row)[0]
    together.add_people(known[:0], known, None)
    actors = recorded(numbered(parts), lambda row: row, settled)
    for each in actors:
        together.add_actors(each)
    found = together.resolve()
    strangers = {row for rows in parts for row in rows} - named
    truth = {
        (part, n): (RowDecision.UNKNOWN_PERSON, 0, 0)
        for part, _, some in numbered(parts)
        for n, row in some
        if row in strangers and policy == "reject" and (part, n) not in settled
    }
    assert sum(found.unknown_people.values()) == len(strangers)
    assert sum(found.unknown_rows.values()) == len(truth)
    assert marked(together, parts) == truth


@settings(deadline=None)
@given(three(st.sampled_from(PEOPLE)), st.sets(st.sampled_from(PEOPLE)), BUFFERED)
def test_people_are_deleted_once_and_never_while_they_are_customers(
    tmp_path_factory, parts, named, buffered
):
    """A second row of one person is left out."""
    together = Grouping(
        pipeline({"kind": "deletions"}, {"kind": "deletions"}, {"kind": "customers"}),
        tmp_path_factory.mktemp("plan"),
        *buffered,
    )
    known = recorded([(9, 2, list(enumerate(sorted(named), 1)))], lambda row: row)[0]
    together.add_people(known[:0], known, None)
    for each in recorded(numbered(parts), lambda row: row):
        together.add_removals(each)
    found = together.resolve()
    seen, truth = set(), {}
    for part, _, some in numbered(parts):
        for n, row in some:
            if row in seen:
                truth[part, n] = (RowDecision.REPEATED_PERSON, 0, 0)
            seen.add(row)
    assert marked(together, parts) == truth
    assert found.both.total() == len(seen & named)


MERGE = st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PEOPLE)).filter(
    lambda row: len({*row}) > 1
)
MERGES = {"kind": "merges", "primary": {"id": "a"}, "secondary": {"id": "b"}}


@settings(deadline=None)
@given(three(MERGE), st.sets(st.sampled_from(PEOPLE)), BUFFERED)
def test_merges_are_counted_whose_order_would_matter(tmp_path_factory, parts, named, buffered):
    """Those of whoever takes others in, and those of one person into several."""
    together = Grouping(
        pipeline(MERGES, MERGES, {"kind": "customers"}), tmp_path_factory.mktemp("plan"), *buffered
    )
    known = recorded([(9, 2, list(enumerate(sorted(named), 1)))], lambda row: row)[0]
    together.add_people(known[:0], known, None)
    merges = recorded(numbered(parts), lambda row: row[0], content_of=lambda row: row[1])
    stays = recorded(numbered(parts), lambda row: row[1])
    for each in zip(merges, stays, strict=True):
        together.add_merges(*each)
    found = together.resolve()
    rows = [(part, n, *row) for part, _, some in numbered(parts) for n, row in some]
    first: dict[str, str] = {}
    others, again = [], {}
    for part, n, goes, stays_ in rows:
        if first.setdefault(goes, stays_) != stays_:
            others.append((part, n))
        elif sum(each[2] == goes for each in rows[: rows.index((part, n, goes, stays_))]):
            again[part, n] = (RowDecision.REPEATED_PERSON, 0, 0)
    into = {stay for *_, stay in rows}
    assert found.chained.total() == len(others) + len({*first} & into)
    assert found.lost_primaries.total() == len(into - named)
    assert found.gone_known.total() == len({*first} & named)
    assert marked(together, parts) == again


def test_nothing_but_the_decisions_is_left_on_disk(tmp_path):
    """What was spilled is as large as the source's rows are many."""
    together = Grouping(pipeline({"kind": "deletions"}), tmp_path, 1)
    for each in recorded([(1, 0, list(enumerate("aab", 1)))], lambda row: row):
        together.add_removals(each)
    assert [each.name for each in tmp_path.iterdir()] == ["partitions"]
    together.resolve()
    assert [each.name for each in tmp_path.iterdir()] == ["decisions"]


@pytest.mark.parametrize("policies", [("send", "refuse"), ("refuse", "send")])
def test_a_shared_address_is_counted_where_it_would_take_a_person_over(tmp_path, policies):
    """The later row does the harm, so its source is asked."""
    sources = [{"kind": "customers", "shared_emails": each} for each in policies]
    together = Grouping(pipeline(*sources), tmp_path)
    parts = [[("a", "x@y")], [], [("b", "x@y")]]
    people = recorded(numbered(parts), lambda row: row[0])
    emails = recorded(numbered(parts), lambda row: row[1], (), lambda row: row[0])
    for some, addresses in zip(people, emails, strict=True):
        together.add_people(some, some, addresses)
    assert together.resolve().shared_emails == {1: 1}
