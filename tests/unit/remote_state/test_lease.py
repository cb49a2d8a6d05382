"""Who may use a job's state in a bucket: one, whatever fails meanwhile; time is virtual."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident

import pytest
from obstore.store import LocalStore

from backfill.errors import StateError, UnavailableError
from backfill.remote_state.lease import Head, Pace, take
from backfill.sources.stores import ObjectStore
from tests.support.virtual_store import StoreTime, VirtualStore

PACE = Pace()
BASE = "jobs/acme"


@pytest.fixture
def time():
    """Virtual time."""
    return StoreTime()


@pytest.fixture
def store(time):
    """A bucket."""
    return VirtualStore(time)


def taken(store, **more):
    """Take the lock."""
    return take(store, BASE, clock=store.time.clock, pace=PACE, **more)


def beating(store, lease, *, times: int):
    """Let a holder write its lock every ten seconds."""
    for n in range(times):
        store.time.at(PACE.beat_s * (n + 1), lease.write)


def test_a_lock_that_was_let_go_is_free(store):
    """At once, and the next generation has it."""
    first = taken(store)
    first.write(held=False)

    second = taken(store)

    assert (first.head.generation, second.head.generation) == (1, 2)
    assert not second.found.held


def test_a_holder_that_lives_keeps_it(store, time):
    """Whoever comes exits with 6 as soon as it is heard, and is told who has it."""
    beating(store, taken(store), times=100)
    began_s = time.now_s

    with pytest.raises(StateError, match="is being run by process") as caught:
        taken(store)

    assert caught.value.exit_code == 6
    assert time.now_s - began_s <= PACE.beat_s + 2


def test_a_holder_that_ends_while_somebody_looks_was_there(store, time):
    """Of two starts at once one wins, however short it takes: the other exits with 6."""
    first = taken(store)
    time.at(1.0, lambda: first.write(held=False))

    with pytest.raises(StateError, match="is being run by"):
        taken(store)


def test_whoever_waits_gets_it_when_it_is_free(store, time):
    """As long as `--wait` says."""
    first = taken(store)
    beating(store, first, times=10)
    time.at(100.5, lambda: first.write(held=False))

    second = taken(store, wait_s=900.0)

    assert second.head.generation == 2
    assert 100 < time.now_s - 1_000 < 105


def test_whoever_waits_goes_on_where_another_is_faster(store, time):
    """The lock was free when it was read, and had somebody else's name when it was written."""
    taken(store).write(held=False)
    others = []

    def faster():
        others.append(taken(store))
        time.at(30.0, lambda: others[0].write(held=False))

    store.before_write = faster
    third = taken(store, wait_s=900.0)
    assert (others[0].head.generation, third.head.generation) == (2, 3)

    third.write(held=False)
    store.before_write = lambda: taken(store)
    with pytest.raises(StateError, match="is being run by process"):
        taken(store)


def test_a_silent_holder_is_taken_over_after_a_minute(store, time):
    """Counted from when it was heard, not from when somebody looked; never sooner."""
    taken(store)
    died_s = time.now_s
    time.sleep(40.0)

    second = taken(store)

    assert second.found.held
    assert PACE.takeover_s < time.now_s - died_s <= PACE.takeover_s + 5


def test_one_that_died_long_ago_is_not_waited_for(store, time):
    """The store's clock says how long it was silent."""
    taken(store)
    time.sleep(3_600.0)
    began_s = time.now_s

    assert taken(store).found.held
    assert time.now_s == began_s


def test_one_of_five_takes_over(store, time):
    """All of them have read it before the first one writes: the store refuses four."""
    taken(store)
    time.sleep(61.5)

    def start(_):
        store.reading.add(get_ident())
        try:
            return taken(store).head.generation
        except StateError as error:
            return error.exit_code

    with ThreadPoolExecutor(5) as pool:
        ended = sorted(pool.map(start, range(5)))

    assert ended == [2, 6, 6, 6, 6]


def test_whoever_was_taken_over_hears_it_at_its_next_write(store, time):
    """And the new holder's lock stays as it is."""
    first = taken(store)
    time.sleep(61.5)
    second = taken(store)

    with pytest.raises(StateError, match="was taken over by process") as caught:
        first.write()

    assert caught.value.exit_code == 6
    second.write()
    assert second.head.beat == 2


def test_a_lock_that_is_gone_is_not_ours(store):
    """Somebody removed it: another may have it by now."""
    first = taken(store)
    store.remove(f"{BASE}/lock")

    with pytest.raises(StateError, match="the lock was removed"):
        first.write()


def test_an_answer_that_is_lost_takes_no_lock_away(store):
    """The store wrote it and refuses the repetition: what it holds is ours."""
    store.lose_answers_of("lock", 3)
    lease = taken(store)
    lease.write(commits=5)
    lease.write(commits=6)

    assert lease.head.commits == 6
    assert Head.parse(store.get(f"{BASE}/lock").content, "").commits == 6


def test_silence_counts_from_the_last_write_that_got_through(store, time):
    """From its beginning: a store may have taken its time."""
    lease = taken(store)
    time.sleep(10.0)
    store.is_out = True
    with pytest.raises(UnavailableError):
        lease.write()
    time.sleep(20.0)

    assert lease.silent_s() == 30.0
    store.is_out = False
    lease.write()
    assert lease.silent_s() == 0.0


def test_what_a_killed_holder_sent_is_in_doubt_until_one_lets_go(store, time):
    """A commit more than it told: whoever was killed in between hides nothing from the next."""
    first = taken(store)
    first.write(sending=True, commits=7)
    time.sleep(61.5)
    taken(store)  # killed before it wrote anything
    time.sleep(61.5)
    third = taken(store)
    assert third.found.noted == 8

    third.write(held=False, sending=False, commits=9)
    assert taken(store).found.noted == 9


@pytest.mark.parametrize("ignored", ["create", "update"])
def test_a_store_that_ignores_conditions_is_found_out(store, ignored):
    """Before anything else is done there: exit 6."""
    store.ignores = ignored
    with pytest.raises(StateError, match="ignores the conditions of a write") as caught:
        taken(store)

    assert caught.value.exit_code == 6
    assert "--state-dir" in caught.value.next_step
    assert store.below("jobs") == []


def test_a_store_without_conditions_is_refused(tmp_path, time):
    """A folder behind `obstore` knows no If-Match."""
    store = ObjectStore(LocalStore(tmp_path), "file", time.clock, 30.0)

    with pytest.raises(StateError, match="conditions of a write"):
        take(store, BASE, clock=time.clock, pace=PACE)


def test_another_object_in_the_place_of_a_lock_is_left_alone(store):
    """It is somebody's."""
    store.put_if(f"{BASE}/lock", b"hands off", None)

    with pytest.raises(StateError, match="is not a lock of backfill"):
        taken(store)

    assert store.get(f"{BASE}/lock").content == b"hands off"


@pytest.mark.parametrize(
    "odd",
    [
        {"generation": "x", "held": 1},
        {"held": True, "at": "x"},
        {"commits": 1e400},
        {"commits": -1},
        {"host": None},
        {"files": {"state.db": {"key": 5, "size": "a", "digest": None}}},
        {"files": {"state.db": {"key": "elsewhere/a", "size": -1, "digest": ""}}},
    ],
)
def test_a_lock_with_values_that_we_never_write_is_not_ours(odd):
    """It is refused where it is read, whatever would be done with it."""
    told = json.loads(Head(at="2026-01-01T00:00:00+00:00").to_json()) | odd
    with pytest.raises(StateError, match="is not a lock of backfill"):
        Head.parse(json.dumps(told).encode(), "lock")
