"""What the state needs of a bucket, asked of each that can be had here: conditions, and bytes."""

import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from obstore.store import MemoryStore

from backfill.clock import Clock
from backfill.errors import StateError, UsageError
from backfill.pipeline.file_settings import StorageSettings
from backfill.remote_state.lease import Pace, take
from backfill.remote_state.mirror import Mirror
from backfill.sources.stores import ObjectStore, connected
from backfill.sources.urls import ObjectUrl
from tests.support import stores

PACE = Pace(takeover_s=0.0)


@pytest.fixture(scope="module", params=["memory", "s3", "az"])
def opened(request):
    """A store, opened as a command opens it; takes a bucket. Google's fake takes no such writes."""
    if request.param == "memory":
        yield lambda _: ObjectStore(MemoryStore(), "memory://acme", Clock())
        return
    if request.param == "az" and stores.azurite() is None:
        pytest.skip("Azurite is not installed")
    with pytest.MonkeyPatch.context() as patch, getattr(stores, request.param)() as place:
        for name, value in stores.ENVIRONMENT.items():
            patch.setenv(name, value)
        storage = StorageSettings(**tomllib.loads(place.settings))
        scheme = place.base.partition("://")[0]
        yield lambda bucket: connected(ObjectUrl(scheme, bucket, "x"), storage, Clock(), 5.0)


@pytest.fixture
def store(opened):
    """The bucket of the tests."""
    return opened(stores.BUCKET)


@pytest.fixture
def base(request):
    """A folder of it where nothing is yet."""
    return f"jobs/{request.node.originalname}"


def test_one_of_two_writes_wins(store, base):
    """In place of nothing, and in place of the same version."""
    first = store.put_if(f"{base}/a", b"1", None)
    assert first is not None
    assert store.put_if(f"{base}/a", b"2", None) is None
    second = store.put_if(f"{base}/a", b"3", first)
    assert second is not None
    assert store.put_if(f"{base}/a", b"4", first) is None
    assert store.get(f"{base}/a").content == b"3"
    assert store.put_if(f"{base}/a", b"5", store.get(f"{base}/a").revision) is not None


def test_of_a_gone_version_nothing_is_written(store, base):
    """The lock was removed: whoever had it is told so."""
    first = store.put_if(f"{base}/a", b"1", None)
    store.remove(f"{base}/a")
    store.remove(f"{base}/a")
    assert store.put_if(f"{base}/a", b"2", first) is None
    assert store.get(f"{base}/a") is None


def test_a_lock_goes_from_hand_to_hand(store, base):
    """Taken, written, let go, taken over by one of five."""
    first = take(store, base, clock=Clock(), pace=PACE)
    first.write(commits=3, sending=True)
    first.write(held=False, sending=False)
    second = take(store, base, clock=Clock(), pace=PACE)
    assert (second.head.generation, second.found.noted) == (2, 3)

    def start(_):
        try:
            return take(store, base, clock=Clock(), pace=Pace(takeover_s=-1.0)).head.generation
        except StateError:
            return None

    with ThreadPoolExecutor(5) as pool:
        won = [each for each in pool.map(start, range(5)) if each]
    # One after the other may each find the last one silent; no two ever have the same turn.
    assert sorted(won) == list(range(3, 3 + len(won)))
    with pytest.raises(StateError):
        second.write()


def test_files_go_there_and_come_back(store, base, tmp_path):
    """State and results; large ones in pieces, empty ones, and names that need quoting."""
    files = {
        "state.db": b"j" * 20_000_000,
        "plan/k/people.parquet": b"",
        "rejected.csv": "ä,ö\n".encode(),
        "history/2026-11-27T162340.123+0000-7.json": b"{}",
    }
    here = tmp_path / "here"
    for path, content in files.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_bytes(content)
    lease = take(store, base, clock=Clock(), pace=PACE)
    place = ObjectUrl("s3", stores.BUCKET, base)
    lease.write(files=Mirror(store, place, here).upload(lease))

    mirror = Mirror(store, place, tmp_path / "there")
    mirror.download(lease.head.files)

    assert {path: (tmp_path / "there" / path).read_bytes() for path in files} == files
    assert mirror.upload(lease) == lease.head.files, "what did not change was written again"


def test_a_bucket_that_is_not_there_is_said(opened, base):
    """2, with what to do; memory has no buckets."""
    if opened(stores.BUCKET).name.startswith("memory"):
        pytest.skip("memory has no buckets")
    nowhere = opened("nowhere")
    for ask in (
        partial(take, nowhere, base, clock=Clock(), pace=PACE),
        partial(nowhere.below, base),
    ):
        with pytest.raises(UsageError, match="there is no such bucket"):
            ask()
