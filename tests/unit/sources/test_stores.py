"""How long a store is waited for, and what its errors become; time is virtual."""

from datetime import UTC, datetime

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError
from obstore.store import MemoryStore

from backfill.clock import Clock
from backfill.errors import CredentialsError, InterruptedRunError, UnavailableError, UsageError
from backfill.sources.stores import ObjectStore, ObjectVersion

LEAK = "GET https://x.example/b?X-Amz-Signature=hunter2"


class Time:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def sleep(self, wait_s: float) -> None:
        """Let time pass."""
        self.waits.append(wait_s)
        self.now_s += wait_s

    @property
    def clock(self) -> Clock:
        """What a run takes."""
        return Clock(lambda: self.now_s, lambda: self.now_s, self.sleep, lambda: 0.5)


@pytest.fixture
def time():
    """Virtual time."""
    return Time()


@pytest.fixture
def store(time):
    """A store that has answered before."""
    found = ObjectStore(MemoryStore(), "s3://acme", time.clock)
    found.patiently(lambda: None)
    return found


def failing(times: int, error: Exception):
    """A request that fails so often."""
    left = iter([error] * times)

    def request() -> str:
        if (each := next(left, None)) is not None:
            raise each
        return "answer"

    return request


@pytest.mark.parametrize(
    "said",
    [
        f"{LEAK} status code: 503 Slow Down: <Code>SlowDown</Code>",
        f"{LEAK} status code: 429 Too Many",
        f"{LEAK} status code: 500 Internal",
        f"{LEAK} HTTP error: error sending request",
    ],
)
def test_what_may_pass_is_tried_again(store, time, said):
    """Throttles wait a second and more, failures a little."""
    assert store.patiently(failing(5, GenericError(said))) == "answer"
    assert len(time.waits) == 5
    assert (min(time.waits) >= 1) == ("503" in said or "429" in said)


@pytest.mark.parametrize("answered", [True, False])
def test_an_outage_ends_as_one_of_the_service_does(store, time, answered):
    """After 15 minutes; after half a minute where the store never answered at all."""
    if not answered:
        store = ObjectStore(MemoryStore(), "s3://acme", time.clock)
    error = GenericError(f"{LEAK} status code: 503")

    with pytest.raises(UnavailableError, match="HTTP status 503") as caught:
        store.patiently(failing(10_000, error))

    limit_s = 900 if answered else 30
    assert limit_s * 0.5 < time.now_s <= limit_s
    assert len(time.waits) < 100
    assert "hunter2" not in f"{caught.value}{caught.value.next_step}"


def test_one_object_that_always_fails_is_given_up_though_others_are_read(store, time):
    """Success elsewhere must not keep a run waiting for ever."""

    def request() -> None:
        store.health.succeeded()
        raise GenericError("status code: 500")

    with pytest.raises(UnavailableError):
        store.patiently(request)
    assert time.now_s <= 900


def test_a_stop_ends_a_wait(store, time):
    """Within a second, by what stops the run."""

    def check() -> None:
        if time.now_s > 20:
            raise InterruptedRunError("interrupted")

    store.clock = time.clock.interrupted_by(check)
    with pytest.raises(InterruptedRunError):
        store.patiently(failing(10_000, GenericError("status code: 503")))
    assert time.now_s < 22


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionDeniedError(f"{LEAK} status code: 403 <Code>AccessDenied</Code>"),
            "403 Acc",
        ),
        (GenericError(f"{LEAK} status code: 400 <Code>ExpiredToken</Code>"), "400 ExpiredToken"),
        (GenericError(f"{LEAK} status code: 301 Moved"), "HTTP status 301"),
    ],
)
def test_a_refusal_is_told_at_once_without_what_it_quotes(store, time, error, said):
    """Its status and its code, and nothing of the address."""
    with pytest.raises(CredentialsError, match=said) as caught:
        store.patiently(failing(1, error))
    assert not time.waits
    assert caught.value.__suppress_context__
    assert "hunter2" not in f"{caught.value}{caught.value.next_step}"


def test_a_store_without_credentials_is_not_waited_for(time):
    """Where it has never answered, a failed request for a token is no outage."""
    store = ObjectStore(MemoryStore(), "gs://acme", time.clock)
    with pytest.raises(CredentialsError, match="no credentials were found"):
        store.patiently(failing(1, GenericError("Error performing token request: GET http://169")))


def test_a_server_without_ranges_is_refused(store):
    """Whole files only: they could not be read on from the middle."""
    with pytest.raises(UsageError, match="whole files only"):
        store.patiently(failing(1, GenericError("NotPartial")))


VERSION = ObjectVersion(10, "abc", "7", datetime(2024, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("found", "is_other"),
    [
        (ObjectVersion(10, "abc", "7", datetime(2025, 1, 1, tzinfo=UTC)), False),
        (ObjectVersion(10, "abc", "", VERSION.modified), False),
        (ObjectVersion(10, "abd", "7", VERSION.modified), True),
        (ObjectVersion(11, "abc", "7", VERSION.modified), True),
        (ObjectVersion(10, "abc", "8", VERSION.modified), True),
    ],
)
def test_a_version_is_told_by_all_that_the_store_says(found, is_other):
    """A date alone says nothing where there is an ETag."""
    assert VERSION.is_other(found) == is_other


def test_etags_are_compared_without_their_quotes():
    """Azure quotes them in answers, and not in lists."""
    meta = {"size": 1, "version": None, "last_modified": VERSION.modified}
    quoted, bare = (ObjectVersion.of({**meta, "e_tag": each}) for each in ('"x"', "x"))
    assert quoted == bare
    assert quoted.conditions("az") == {"if_match": '"x"'}
    assert ObjectVersion.of({**meta, "e_tag": 'W/"x"'}).conditions("https") == {
        "if_unmodified_since": VERSION.modified
    }
