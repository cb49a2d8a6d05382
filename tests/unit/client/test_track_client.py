"""`TrackClient`: each call as it arrives at a server, and what is refused before it is sent."""

import asyncio
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import ip_address
from urllib.parse import unquote
from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from backfill.client.async_client import AsyncTrackClient
from backfill.client.json_values import identifier, plain, unix_time
from backfill.client.track_client import (
    DestinationError,
    RefusedError,
    TrackClient,
    TrackError,
    UnansweredError,
    UnauthorizedError,
)
from backfill.delivery.region import Region
from backfill.errors import CredentialsError, UsageError
from tests.support.servers import (
    Received,
    Script,
    Server,
    answer,
    drip,
    endless,
    hang,
    in_turn,
    message,
    raw,
    reset,
    serving,
)

NOW_S = 1_700_000_000.25
LEAP_DAY = datetime(
    2020, 2, 29, 12, 30, 15, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=30))
)


class Colour(Enum):
    """An enumeration."""

    RED = "red"


SILENT = (hang(), endless())


@contextmanager
def running(script: Script) -> Iterator[Server]:
    """A scripted server in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = serving(script)
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def client_of(script: Script, **settings) -> Iterator[tuple[TrackClient, Server, list[float]]]:
    """A client, the server that it speaks to, and how long it slept."""
    slept: list[float] = []
    with running(script) as server:
        more = {"sleep": slept.append, "clock": lambda: NOW_S, "timeout_s": 60.0, **settings}
        with TrackClient("site", "canary", url=server.url, **more) as client:
            yield client, server, slept


def sent(call) -> Received:
    """The one request that a call makes."""
    with client_of(in_turn()) as (client, server, _):
        call(client)
        (request,) = server.received
        return request


def test_identify():
    """A person is set with any attributes, nested ones too; timestamps become unix seconds."""
    request = sent(
        lambda c: c.identify(
            "a/b", email="ada@example.com", created_at=LEAP_DAY, plan={"name": "gold", "seats": 3}
        )
    )

    assert (request.method, request.path) == ("PUT", "/api/v1/customers/a%2Fb")
    assert orjson.loads(request.body) == {
        "email": "ada@example.com",
        "created_at": 1582959615,
        "plan": {"name": "gold", "seats": 3},
    }
    assert request.headers["authorization"] == "Basic c2l0ZTpjYW5hcnk="
    assert request.headers["content-type"] == "application/json"


def test_track():
    """An event in the past keeps its time; its id is a ULID of that time."""
    request = sent(lambda c: c.track(42, "purchased", LEAP_DAY, price=Decimal("29.99")))

    assert (request.method, request.path) == ("POST", "/api/v1/customers/42/events")
    event = orjson.loads(request.body)
    made = ULID.from_str(event.pop("id"))
    assert event == {"name": "purchased", "data": {"price": 29.99}, "timestamp": 1582959615}
    assert made.milliseconds == 1582959615_000


def test_track_now():
    """An event without a timestamp is stamped by the service; its id is of this moment."""
    event = orjson.loads(sent(lambda c: c.track("42", "seen")).body)

    assert "timestamp" not in event
    assert ULID.from_str(event["id"]).milliseconds == 1_700_000_000_250


def test_track_with_an_id():
    """An id of one's own is kept."""
    given_id = "01HB4HBDKTFWYZCK01DMRSWRFD"

    assert orjson.loads(sent(lambda c: c.track("42", "x", id=given_id)).body)["id"] == given_id


@pytest.mark.parametrize("given_id", ["42", "", "8" * 26, "01HB4HBDKTFWYZCK01DMRSWRFU", 7])
def test_an_id_that_is_no_ulid(given_id):
    """A customer's id, say, is no event's id: all of that customer's events would be one."""
    assert_refused(lambda c: c.track("42", "x", id=given_id), "id")


def test_track_anonymous():
    """Somebody unknown has an anonymous id, and the event goes to its own place."""
    request = sent(lambda c: c.track_anonymous("anon-1", "viewed", page="/"))

    assert (request.method, request.path) == ("POST", "/api/v1/events")
    event = orjson.loads(request.body)
    assert event["anonymous_id"] == "anon-1"
    assert event["data"] == {"page": "/"}


def test_an_invite_is_for_whom_its_data_name():
    """Nobody is behind it yet, and no anonymous id either."""
    event = orjson.loads(
        sent(lambda c: c.track_anonymous(None, "invited", recipient="ada@example.com")).body
    )

    assert event.keys() == {"name", "data", "id"}
    assert event["data"] == {"recipient": "ada@example.com"}


def test_data_may_have_any_name():
    """Also those that the call itself takes, in a mapping of their own."""
    names = {"name": "n", "id": "i", "timestamp": 1, "customer_id": "c", "data": {"a": 1}}

    event = orjson.loads(sent(lambda c: c.track("42", "x", data=names, price=1)).body)
    attributes = orjson.loads(sent(lambda c: c.identify("a@example.com", {"id": "42"})).body)

    assert event["data"] == {**names, "price": 1}
    assert attributes == {"id": "42"}
    assert_refused(lambda c: c.track("42", "x", data={"price": 1}, price=2), "price")


@pytest.mark.parametrize("kind", ["page", "screen"])
def test_pages_and_screens_are_events_of_their_own_type(kind):
    """They go where events go."""
    request = sent(lambda c: getattr(c, kind)("42", "/pricing", LEAP_DAY, referrer="/"))

    assert request.path == "/api/v1/customers/42/events"
    event = orjson.loads(request.body)
    assert (event["type"], event["name"], event["data"]) == (kind, "/pricing", {"referrer": "/"})


def test_large_segments_are_changed_in_several_requests():
    """A thousand people each."""
    with client_of(in_turn()) as (client, server, _):
        client.add_to_segment(7, range(1, 2502), "id")

    assert [request.path for request in server.received] == [
        "/api/v1/segments/7/add_customers?id_type=id"
    ] * 3
    found = [each for request in server.received for each in orjson.loads(request.body)["ids"]]
    assert found == [str(number) for number in range(1, 2502)]


@pytest.mark.parametrize("segment", ["x", "-1", "1/2", True])
def test_segments_that_lead_elsewhere(segment):
    """Only the number of a segment is one."""
    assert_refused(lambda c: c.add_to_segment(segment, ["1"]), "segment_id")


def test_the_async_twin_has_the_same_calls():
    """The same names with the same signatures, and the same requests, awaited."""
    public = {name for name in dir(TrackClient) if not name.startswith("_")}
    assert public == {name for name in dir(AsyncTrackClient) if not name.startswith("_")}
    for name in public - {"close"}:
        twin = inspect.signature(getattr(AsyncTrackClient, name))
        assert twin == inspect.signature(getattr(TrackClient, name))

    async def calls(url):
        async with AsyncTrackClient("site", "canary", url=url, concurrency=4) as client:
            await asyncio.gather(*(client.track(str(number), "seen") for number in range(20)))
            with pytest.raises(ValueError, match="timestamp"):
                await client.track("42", "seen", datetime(2024, 1, 1))  # noqa: DTZ001

    with running(in_turn()) as server:
        asyncio.run(calls(server.url))
        paths = {request.path for request in server.received}

    assert paths == {f"/api/v1/customers/{number}/events" for number in range(20)}


@pytest.mark.parametrize(
    ("call", "method", "path", "body"),
    [
        (
            lambda c: c.remove_from_segment(7, ["a@example.com"], "email"),
            "POST",
            "/api/v1/segments/7/remove_customers?id_type=email",
            {"ids": ["a@example.com"]},
        ),
        (
            lambda c: c.submit_form("sign up", {"id": "42"}, colour="red"),
            "POST",
            "/api/v1/forms/sign%20up/submit",
            {"data": {"id": "42", "colour": "red"}},
        ),
        (
            lambda c: c.report_metric("d1", "clicked", LEAP_DAY, href="https://example.com"),
            "POST",
            "/api/v1/metrics",
            {
                "delivery_id": "d1",
                "metric": "clicked",
                "href": "https://example.com",
                "timestamp": 1582959615,
            },
        ),
        (
            lambda c: c.report_push("d1", "opened", "token", 1582959615),
            "POST",
            "/api/v1/push/events",
            {
                "delivery_id": "d1",
                "event": "opened",
                "device_id": "token",
                "timestamp": 1582959615,
            },
        ),
        (
            lambda c: c.unsubscribe("d/1"),
            "POST",
            "/unsubscribe/d%2F1",
            {"unsubscribe": True},
        ),
        (
            lambda c: c.entity({"type": "person", "action": "delete", "identifiers": {"id": "42"}}),
            "POST",
            "/api/v2/entity",
            {"type": "person", "action": "delete", "identifiers": {"id": "42"}},
        ),
        (lambda c: c.delete("42"), "DELETE", "/api/v1/customers/42", None),
        (lambda c: c.suppress("42"), "POST", "/api/v1/customers/42/suppress", {}),
        (lambda c: c.unsuppress("42"), "POST", "/api/v1/customers/42/unsuppress", {}),
        (
            lambda c: c.add_device("42", "d/1", "ios", LEAP_DAY, model="x"),
            "PUT",
            "/api/v1/customers/42/devices",
            {
                "device": {
                    "id": "d/1",
                    "platform": "ios",
                    "last_used": 1582959615,
                    "attributes": {"model": "x"},
                }
            },
        ),
        (
            lambda c: c.delete_device("42", "d/1"),
            "DELETE",
            "/api/v1/customers/42/devices/d%2F1",
            None,
        ),
        (
            lambda c: c.merge({"id": "42"}, {"email": "ada@example.com"}),
            "POST",
            "/api/v1/merge_customers",
            {"primary": {"id": "42"}, "secondary": {"email": "ada@example.com"}},
        ),
    ],
    ids=[
        *("remove_from_segment", "submit_form", "report_metric", "report_push", "unsubscribe"),
        "entity",
        *("delete", "suppress", "unsuppress", "add_device", "delete_device", "merge"),
    ],
)
def test_calls(call, method, path, body):
    """Each call is the request that the API describes."""
    request = sent(call)

    assert (request.method, request.path) == (method, path)
    assert (orjson.loads(request.body) if request.body else None) == body


def test_batch():
    """Operations go to v2 together; an event without an id gets one, timestamps become seconds."""
    person = {"type": "person", "identifiers": {"id": "42"}}
    own = "01HB4HBDKTFWYZCK01DMRSWRFD"
    request = sent(
        lambda c: c.batch(
            [
                {**person, "action": "identify", "attributes": {"since": date(2020, 2, 29)}},
                {**person, "action": "event", "name": "x", "timestamp": LEAP_DAY},
                {**person, "action": "event", "name": "x", "id": own},
            ]
        )
    )

    assert (request.method, request.path) == ("POST", "/api/v2/batch")
    identify, made, given_one = request.operations
    assert "id" not in identify
    assert identify["attributes"] == {"since": 1582934400}
    assert made["timestamp"] == 1582959615
    assert ULID.from_str(made["id"]).milliseconds == 1582959615_000
    assert given_one["id"] == own


def test_no_operations():
    """An empty batch is no request."""
    with client_of(in_turn()) as (client, server, _):
        client.batch([])
        assert server.received == []


def operation(number: int, padding: int = 0) -> dict[str, object]:
    """An operation that can be told from others."""
    return {"type": "person", "action": "identify", "number": number, "padding": "x" * padding}


def test_large_batches_are_split():
    """No request reaches 500,000 bytes, and every operation is sent once."""
    with client_of(in_turn()) as (client, server, _):
        client.batch([operation(n, padding=30_000) for n in range(50)])

        assert all(len(request.body) < 500_000 for request in server.received)
        assert len(server.received) == 4
        numbers = [each["number"] for request in server.received for each in request.operations]
        assert numbers == list(range(50))


def test_refusals_of_a_batch_name_the_operations():
    """Whether by 207 or by 400, exactly the refused operations are named; others arrive."""

    def script(request: Received):
        numbers = [each["number"] for each in request.operations]
        if 13 in numbers:
            return answer(400, b'{"errors":[{"reason":"bad","field":"f","message":"poison"}]}')
        if 30 in numbers:
            index = str(numbers.index(30)).encode()
            return answer(207, b'{"errors":[{"batch_index":' + index + b',"message":"odd"}]}')
        return answer()

    with client_of(script) as (client, _, _), pytest.raises(RefusedError) as caught:
        client.batch([operation(n) for n in range(40)])

    assert [(r.index, r.message) for r in caught.value.refusals] == [(13, "poison"), (30, "odd")]


def test_region():
    """The look-up says where the workspace is."""
    body = b'{"url":"https://evil.example","region":"eu","environment_id":7}'
    with client_of(in_turn(answer(200, body))) as (client, server, _):
        assert client.region() == Region("eu", 7)
        assert server.received[0].path == "/api/v1/accounts/region"


@pytest.mark.parametrize(
    ("reply", "error", "status"),
    [
        (answer(401, b"Unauthorized request"), UnauthorizedError, 401),
        (answer(403), UnauthorizedError, 403),
        (answer(400, b'{"meta":{"errors":["one","two"]}}'), RefusedError, 400),
        (answer(413, b""), RefusedError, 413),
        (answer(301, headers={"Location": "https://track-eu.customer.io/"}), DestinationError, 301),
        (answer(404), DestinationError, 404),
        (answer(500, b"<html>", content_type="text/html"), UnansweredError, 500),
        (answer(200, b"<html>", content_type="text/html"), UnansweredError, 200),
        (answer(429), UnansweredError, 429),
        (raw(b""), UnansweredError, None),
        (raw(b"SSH-2.0\r\n"), UnansweredError, None),
        (SILENT[0], UnansweredError, None),
        (SILENT[1], UnansweredError, None),
    ],
    ids=[
        "401",
        "403",
        "400",
        "413",
        "301",
        "404",
        "500",
        "page",
        "429",
        "closed",
        "ssh",
        "hang",
        "endless",
    ],
)
def test_errors_are_typed(reply, error, status):
    """Every failure has its type, and its status; none holds what was sent, nor the key."""
    quick = {"timeout_s": 0.3} if reply in SILENT else {}
    with client_of(in_turn(then=reply), **quick) as (client, _, _), pytest.raises(error) as caught:
        client.identify("person-secret", email="mail-secret")

    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert isinstance(caught.value, TrackError)
    assert caught.value.status == status
    assert "secret" not in shown
    assert "canary" not in shown


def test_a_look_up_without_welcome():
    """A look-up with a key that opens nothing is an error like that of any call."""
    with client_of(in_turn(then=answer(401))) as (client, _, _), pytest.raises(UnauthorizedError):
        client.region()


def test_retries_send_the_very_same_bytes():
    """A retry repeats the request byte for byte, with the id that was made for it."""
    faults = [answer(500), reset(), answer(200, b"oops"), answer(429)]
    with client_of(in_turn(*faults)) as (client, server, slept):
        client.track("42", "purchased")

        assert len(server.received) == 5
        assert len({request.body for request in server.received}) == 1
        assert len(slept) == 4
        assert slept[3] >= 1, "after a throttle"


def test_a_hint_is_followed():
    """The service's own wish is waited for."""
    busy = answer(503, headers={"Retry-After": "120"})
    with client_of(in_turn(busy)) as (client, _, slept):
        client.identify("42")

        assert slept == [120]


def test_attempts_end():
    """After five attempts the caller decides."""
    with client_of(in_turn(then=answer(500))) as (client, server, slept):
        with pytest.raises(UnansweredError):
            client.identify("42")
        assert (len(server.received), len(slept)) == (5, 4)


def test_a_slow_answer_ends():
    """A service that says a byte now and then is silent for too long in the end."""
    with (
        client_of(in_turn(then=drip(message(), pause_s=0.4)), timeout_s=0.3) as (client, _, _),
        pytest.raises(UnansweredError),
    ):
        client.identify("42")


def test_many_threads():
    """One client serves many threads."""
    with client_of(in_turn()) as (client, server, _):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: client.track(n, "x"), range(100)))
        assert len({request.path for request in server.received}) == 100
        assert len({orjson.loads(request.body)["id"] for request in server.received}) == 100


def assert_refused(call, key: str) -> None:
    """The call is refused before anything is sent, with the key that is wrong."""
    with client_of(in_turn()) as (client, server, _):
        with pytest.raises(ValueError, match=rf"^{key}: ") as caught:
            call(client)
        assert server.received == []
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (datetime(2020, 2, 29), "at"),  # noqa: DTZ001  # naive on purpose
        (float("nan"), "at"),
        (float("-inf"), "at"),
        (Decimal("NaN"), "at"),
        (Decimal("Infinity"), "at"),
        ("secret \ud800", "at"),
        (b"secret", "at"),
        (ip_address("127.0.0.1"), "at"),
        (timedelta(1), "at"),
        ({"deep": [1, float("nan")]}, r"at\.deep\[1\]"),
        ({1: "secret"}, "at"),
        ({"": "secret"}, "at"),
        (object(), "at"),
    ],
)
def test_values_that_would_be_misread(value, key):
    """A value without one clear meaning is refused by its key, before anything is sent."""
    assert_refused(lambda c: c.identify("42", at=value), key)


def test_a_nesting_without_end():
    """A value that contains itself is refused."""
    endless_list: list[object] = []
    endless_list.append(endless_list)

    with pytest.raises(ValueError, match="nested deeper"):
        plain({"a": endless_list})


@pytest.mark.parametrize(
    "moment",
    [
        "2020-02-29T00:00:00Z",
        datetime(2020, 2, 29),  # noqa: DTZ001  # naive on purpose
        1582959615123,
        -1,
        float("nan"),
        True,
        datetime(1969, 12, 31, tzinfo=UTC),
    ],
)
def test_timestamps_that_the_service_would_take_for_now(moment):
    """A timestamp that is not one is refused; the service would record the event as of now."""
    assert_refused(lambda c: c.track("42", "x", moment), "timestamp")
    event = {"type": "person", "action": "event", "timestamp": moment}
    assert_refused(lambda c: c.batch([event]), r"(timestamp|)")


@pytest.mark.parametrize(
    "person",
    ["", "  ", ".", "..", None, True, 1.5, "x" * 151, "é" * 76, "x" * 250 + "@a.de", "\ud800"],
)
def test_identifiers_that_lead_elsewhere(person):
    """An identifier that is empty, a path of dots, or too long is refused."""
    assert_refused(lambda c: c.identify(person), "id")


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "é" * 51, None])
def test_event_names(name):
    """An event's name has 1 to 100 bytes."""
    assert_refused(lambda c: c.track("42", name), "name")


@pytest.mark.parametrize("person", [{}, {"id": "1", "email": "e"}, {"phone": "1"}, {"id": ""}])
def test_merging_nobody(person):
    """Whom to merge is said by exactly one identifier."""
    assert_refused(lambda c: c.merge(person, {"id": "1"}), r"primary(\.id)?")


@pytest.mark.parametrize("device", ["", ".", ".."])
def test_devices_that_lead_elsewhere(device):
    """A device's id is part of a path, too."""
    assert_refused(lambda c: c.delete_device("42", device), "device_id")


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[TrackClient, Server, list[float]]]:
    """A client and a server for all examples of a property."""
    with client_of(in_turn()) as together:
        yield together


@given(person=st.text(min_size=1, max_size=40))
def test_any_person_is_one_segment_of_the_path(shared, person):
    """Whatever an accepted identifier holds, it stays one segment, and says the same."""
    try:
        identifier(person, "id")
    except ValueError:
        return
    client, server, _ = shared
    client.delete(person)
    *_, segment = server.received.pop().path.split("/")
    assert unquote(segment) == person


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**53) - 1, "-9007199254740993"),
        (1.5, 1.5),
        (Decimal("29.99"), 29.99),
        (Decimal("3.00"), 3),
        (Decimal("0.1000000000000000000001"), "0.1000000000000000000001"),
        (Decimal(9007199254740993), "9007199254740993"),
        (Fraction(1, 4), 0.25),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (date(1969, 12, 31), -86400),
        (LEAP_DAY, 1582959615),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253402300799),
        ((1, [2, {"a": date(1970, 1, 2)}]), [1, [2, {"a": 86400}]]),
        ({3}, [3]),
    ],
)
def test_values(value, expected):
    """Each value is sent as the number, text or container that means the same."""
    found = plain(value)

    assert found == expected
    assert type(found) is type(expected)


@given(
    st.datetimes(
        min_value=datetime(1970, 1, 2),  # noqa: DTZ001  # hypothesis adds the zone
        max_value=datetime(5000, 1, 1),  # noqa: DTZ001  # likewise
        timezones=st.timezones(),
    )
)
def test_timestamps_are_exact(moment):
    """In every zone a moment is its whole unix second, rounded down."""
    elapsed = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)

    assert unix_time(moment, "at") == elapsed.days * 86_400 + elapsed.seconds


def test_settings_are_checked():
    """A wrong region, url or key is found before the first call."""
    with pytest.raises(UsageError):
        TrackClient("site", "key", url="http://track.customer.io")
    with pytest.raises(UsageError):
        TrackClient("site", "key", region="mars")
    with pytest.raises(CredentialsError):
        TrackClient("site", "")


def test_the_key_is_not_shown():
    """No repr of the client holds the key."""
    with TrackClient("site", "canary") as client:
        assert "canary" not in repr(client)
