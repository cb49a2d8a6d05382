"""What every delivery promises, over real sockets and against a server that may do anything."""

import asyncio
import gzip
import random
import socket
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.delivery.credentials import Credentials
from backfill.delivery.outcome import NO_ANSWER, Delivery
from backfill.delivery.pacing import Time
from backfill.delivery.track_api import Timeouts
from backfill.delivery.track_delivery import TrackDelivery, open_delivery
from backfill.encoding.identity import in_path
from backfill.errors import BackfillError, CredentialsError, UnavailableError, UsageError
from tests.support.deliveries import KEY_LOOK_UP, batch_of, single
from tests.support.servers import (
    Received,
    Reply,
    Script,
    Server,
    answer,
    answering_early,
    cuts,
    cutting,
    drip,
    endless,
    hang,
    in_turn,
    message,
    raw,
    reset,
    self_signed,
    serving,
    together,
)

CREDENTIALS = Credentials("site", "canary-key")
QUICK = Timeouts(connect_s=1, read_s=0.2, total_s=0.5)

FAULTS = {
    "error page": answer(500, b"<html>", content_type="text/html"),
    "bad gateway": answer(502, b""),
    "throttle": answer(429, b""),
    "hint": answer(503, b"", headers={"Retry-After": "2"}),
    "portal": answer(200, b"<html>Log in</html>", content_type="text/html"),
    "broken json": answer(200, b'{"errors":'),
    "reset": reset(),
    "closed": raw(b""),
    "not http": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "odd status": raw(b"HTTP/1.1 999999 What\r\n\r\n"),
    "short body": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{}"),
    "odd length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}"),
    "odd chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "long header": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
    "falsely compressed": raw(message(200, b"{}", headers={"Content-Encoding": "gzip"})[:-1]),
    "hang": hang(),
    "slow header": drip(message(), pause_s=0.05),
    "endless body": endless(),
}

ENDLESS = {
    "body": endless(),
    "headers": endless(b"HTTP/1.1 200 OK\r\n", b"X-Filler: y\r\n"),
    "one header": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", b"y"),
    "gigabyte": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"y"),
    "bomb": endless(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", gzip.compress(b"y" * 10**6)
    ),
}


async def hurried(seconds: float) -> None:
    """Sleep a hundredth of it: the order of things stays, the waiting goes."""
    await asyncio.sleep(seconds / 100)


@asynccontextmanager
async def opened(server: Server, **options) -> AsyncIterator[TrackDelivery]:
    """The delivery to a server, in a hurry."""
    loop = asyncio.get_running_loop()
    time = Time(lambda: loop.time() * 100, hurried, random.Random(1).random)
    more = {"rate": 0, **options}
    async with open_delivery(server.url, CREDENTIALS, time, **more) as delivery:
        yield delivery


def deliver_to(
    script: Script, scenario: Callable[[Delivery], Awaitable[None]], **options
) -> Server:
    """Run a scenario against a scripted server; give what the server saw."""

    async def go() -> Server:
        async with serving(script) as server, opened(server, **options) as delivery:
            await scenario(delivery)
            return server

    return asyncio.run(go())


async def three(delivery: Delivery) -> None:
    """Deliver three operations, none refused."""
    outcome = await delivery.deliver(batch_of(3))
    assert outcome.refusals == ()


def test_a_request_as_it_arrives():
    """A batch is one POST with the key, JSON, and no request for compression."""
    (request,) = deliver_to(in_turn(), three).received

    assert (request.method, request.path) == ("POST", "/api/v2/batch")
    assert request.body == b'{"batch":[{"number":0},{"number":1},{"number":2}]}'
    assert request.headers["authorization"] == "Basic c2l0ZTpjYW5hcnkta2V5"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("backfill/")
    assert request.headers["accept-encoding"] == "identity"
    assert "cookie" not in request.headers


def test_a_name_that_is_found_late_is_asked_for_again(monkeypatch):
    """No address, then one where nobody listens beside one that answers: all is delivered."""
    asked = []

    def looked_up(host, port, *_, **__):
        asked.append(host)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        there = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*there, ("127.0.0.99", port)), (*there, ("127.0.0.1", port))]

    async def go():
        loop = asyncio.get_running_loop()
        time = Time(lambda: loop.time() * 100, hurried, random.Random(1).random)
        async with serving(in_turn()) as server:
            url = server.url.replace("127.0.0.1", "track.example")
            monkeypatch.setattr(socket, "getaddrinfo", looked_up)
            async with open_delivery(url, CREDENTIALS, time, rate=100) as delivery:
                await three(delivery)
                return server, delivery.meter

    server, meter = asyncio.run(go())

    assert len(server.received) == 1
    assert asked == ["track.example"] * 3
    assert meter.last_failure == "the host's name was not found (DNS)"


identifiers = st.text(
    st.sampled_from("%2FfEe.+~!$&'()*,:;=@/?#[] \\\"<>^`{|}")
    | st.characters(exclude_categories=["Cs"]),
    min_size=1,
).filter(lambda each: each not in (".", ".."))


@settings(max_examples=10)
@given(st.lists(identifiers, min_size=50))
def test_identifiers_arrive_byte_for_byte(people):
    """No part of the way writes a path in another way, and the service reads what was meant."""
    paths = [f"/api/v1/customers/{in_path(person)}/events" for person in people]

    async def scenario(delivery: Delivery) -> None:
        for path in paths:
            await delivery.deliver(single(path))

    received = [request.path for request in deliver_to(in_turn(), scenario).received]

    assert received == paths
    assert not any(set("!$&'()*,:;=@+") & set(path) for path in received)
    assert [unquote(path.split("/")[4]) for path in received] == people


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("person", ["a/b c@d+%é~?#;=&", "%2F", "a/../b", "../..", "😀", "007", " "])
def test_v1_paths_mean_the_same_person(method, person):
    """An identifier in the path reaches the service whole, whatever is in it."""
    path = f"/api/v1/customers/{in_path(person)}/events"
    body = "" if method == "DELETE" else "{}"

    async def scenario(delivery: Delivery) -> None:
        await delivery.deliver(single(path, method, body + ","))

    (request,) = deliver_to(in_turn(), scenario).received

    assert (request.method, request.body) == (method, body.encode())
    parts = request.path.split("/")
    assert [unquote(part) for part in parts] == ["", "api", "v1", "customers", person, "events"]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_server_is_survived(fault):
    """Whatever the server does to a request, the batch is sent again and delivered."""
    server = deliver_to(in_turn(FAULTS[fault]), three, timeouts=QUICK)

    assert len(server.received) >= 2
    assert len({request.body for request in server.received}) == 1, "the very same bytes"


def test_an_answer_cut_at_any_byte():
    """Wherever an answer breaks off, it is no answer, and the batch is sent again."""
    whole = message()

    async def go() -> None:
        script = in_turn(*(reply for cut in cuts(whole) for reply in (raw(cut), answer())))
        async with serving(script) as server, opened(server) as delivery:
            for _ in cuts(whole):
                assert (await delivery.deliver(batch_of(1))).refusals == ()
            assert len(server.received) == 2 * len(whole)

    asyncio.run(go())


def test_an_answer_above_a_megabyte():
    """An answer that is too long is no answer, even if it would end in success."""
    long = answer(200, b" " * 1_100_000 + b"{}")

    assert len(deliver_to(in_turn(long), three).received) == 2


def test_a_reason_phrase_that_is_no_text():
    """Nobody reads the phrase behind the status; it may hold any byte (RFC 9112, obs-text)."""
    odd = raw(b"HTTP/1.1 200 \xff\r\nContent-Length: 2\r\n\r\n{}", keep=True)

    assert len(deliver_to(in_turn(odd), three).received) == 1


def test_a_continue_before_the_answer():
    """An interim answer is no answer."""
    early = raw(b"HTTP/1.1 100 Continue\r\n\r\n" + message(), keep=True)

    assert len(deliver_to(in_turn(early), three).received) == 1


def test_a_success_before_the_request_was_read():
    """Nobody can have taken what has not arrived: it is sent again until somebody has."""
    batch = single("/api/v1/customers/1", "PUT", "{" + " " * 499_000 + "},")

    async def go() -> None:
        async with serving(in_turn()) as server:
            behind = int(server.url.rpartition(":")[2])
            async with (
                answering_early(2, behind) as port,
                opened(Server(f"http://127.0.0.1:{port}")) as delivery,
            ):
                outcome = await delivery.deliver(batch)
                assert (outcome.refusals, outcome.attempts) == ((), 3)
            assert [len(request.body) for request in server.received] == [499_002]

    asyncio.run(go())


@pytest.mark.parametrize("reply", ENDLESS)
def test_what_never_ends_takes_no_memory(reply):
    """Headers, interim answers and bodies without end are cut off, and the batch is sent again."""
    tracemalloc.start()
    try:
        server = deliver_to(in_turn(ENDLESS[reply]), three, timeouts=QUICK)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(server.received) >= 2
    assert peak_bytes < 30_000_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_redirects_are_not_followed(status, method):
    """A redirect ends the run; nothing is sent to where it points."""

    async def go() -> None:
        async with serving(in_turn()) as elsewhere:
            there = answer(status, headers={"Location": elsewhere.url + "/api/v2/batch"})
            async with serving(in_turn(then=there)) as server, opened(server) as delivery:
                with pytest.raises(CredentialsError):
                    await delivery.deliver(single("/api/v1/customers/1", method))
            assert elsewhere.connections == 0

    asyncio.run(go())


def test_cookies_are_not_kept():
    """What a server sets is not sent back."""
    cookie = answer(headers={"Set-Cookie": "portal=1; Path=/"})

    async def go() -> None:
        async with serving(in_turn(then=cookie)) as server:
            named = Server(server.url.replace("127.0.0.1", "localhost"))
            async with opened(named) as delivery:
                await three(delivery)
                await three(delivery)
            assert len(server.received) == 2
            assert not any("cookie" in request.headers for request in server.received)

    asyncio.run(go())


def test_proxies_of_the_environment_are_ignored(monkeypatch):
    """A proxy variable does not take the key elsewhere."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert len(deliver_to(in_turn(), three).received) == 1


def test_connections_are_kept():
    """Batches one after the other use one connection."""

    async def scenario(delivery: Delivery) -> None:
        for _ in range(10):
            await three(delivery)

    assert deliver_to(in_turn(), scenario).connections == 1


def test_connections_that_the_server_had_closed():
    """When a server drops a kept connection, the request goes out again at once, on a new one."""
    script = in_turn(answer(), raw(b""))

    async def scenario(delivery: TrackDelivery) -> None:
        await three(delivery)
        outcome = await delivery.deliver(batch_of(1))
        assert outcome.attempts == 2
        assert delivery.meter.pause is None

    assert deliver_to(script, scenario).connections == 2


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_every_request_is_an_attempt(method):
    """Whatever is sent again is sent by us, in its turn and counted: never by a library alone."""
    script = in_turn(answer(), raw(b""), reset())

    async def scenario(delivery: TrackDelivery) -> None:
        for _ in range(2):
            await delivery.deliver(single("/api/v1/customers/1", method))
        assert delivery.meter.attempts == 4

    assert len(deliver_to(script, scenario).received) == 4


def test_connections_that_are_all_stale():
    """Of kept connections that are all reset only one is tried: the retry opens its own."""
    asked: Counter[int] = Counter()
    first = together(4, answer())

    def one_each(request: Received) -> Reply:
        asked[request.connection] += 1
        if asked[request.connection] > 1:
            return reset()
        return first if request.connection <= 4 else answer()

    async def scenario(delivery: TrackDelivery) -> None:
        await asyncio.gather(*(three(delivery) for _ in range(4)))
        outcome = await delivery.deliver(batch_of(1))
        assert outcome.attempts == 2
        assert delivery.meter.pause is None

    server = deliver_to(one_each, scenario)

    assert server.connections == 5
    assert server.received[-1].connection == 5


def test_a_service_that_comes_back_on_its_port():
    """A connection that is refused is tried again until somebody listens."""

    async def go() -> None:
        async with serving(in_turn()) as server:
            port = int(server.url.rpartition(":")[2])
        async with opened(server) as delivery:
            delivering = asyncio.create_task(three(delivery))
            while not delivery.meter.answers[NO_ANSWER]:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
            async with serving(in_turn(), port=port) as back:
                await delivering
                assert len(back.received) == 1

    asyncio.run(go())


@pytest.mark.parametrize(
    "cut", [reset(), raw(b""), raw(b"\x15\x03\x03")], ids=["reset", "end", "half"]
)
def test_a_handshake_that_is_cut(tmp_path, monkeypatch, cut):
    """A connection that breaks before it is secure says nothing about the certificate."""
    certificate, tls = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def go() -> None:
        async with serving(in_turn(), tls=tls) as server:
            behind = int(server.url.rpartition(":")[2])
            async with (
                cutting(2, behind, cut) as port,
                opened(Server(f"https://127.0.0.1:{port}")) as delivery,
            ):
                await three(delivery)
                assert delivery.meter.answers == {NO_ANSWER: 2, 200: 1}
            assert len(server.received) == 1

    asyncio.run(go())


def test_nobody_listens():
    """A refused connection is an outage: the run ends as unavailable."""

    async def go() -> None:
        async with serving(in_turn()) as server:
            pass
        async with opened(server, outage_max_s=60) as delivery:
            with pytest.raises(UnavailableError):
                await delivery.deliver(batch_of(3))
            assert set(delivery.meter.answers) == {0}

    asyncio.run(go())


def test_a_certificate_of_nobody(tmp_path):
    """A certificate that is not trusted ends the run before the key is sent."""
    _, tls = self_signed(tmp_path)

    async def go() -> None:
        async with serving(in_turn(), tls=tls) as server, opened(server) as delivery:
            with pytest.raises(CredentialsError):
                await delivery.deliver(batch_of(1))
            assert server.received == []

    asyncio.run(go())


def test_a_certificate_of_ones_own_authority(tmp_path, monkeypatch):
    """An authority of one's own is trusted by the usual variable, SSL_CERT_FILE."""
    certificate, tls = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def go() -> None:
        async with serving(in_turn(), tls=tls) as server, opened(server) as delivery:
            await three(delivery)
            assert [request.path for request in server.received] == ["/api/v2/batch"]

    asyncio.run(go())


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_bytes_as_an_answer(data):
    """Whatever bytes come back, one attempt is followed by the next, and nothing is raised."""
    lines = [
        b"Set-Cookie: =;;=\x01",
        b"Content-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Length: 7",
        b"Upgrade: h2c",
        b"Connection: upgrade",
        b"Location: //[",
        b"Retry-After: \xff",
    ]
    whole = message(data.draw(st.sampled_from([101, 103, 200, 204, 304, 503])))
    head = b"\r\n".join(data.draw(st.lists(st.sampled_from(lines), max_size=3)))
    odd = whole.replace(b"\r\n\r\n", b"\r\n" + head + b"\r\n\r\n" if head else b"\r\n\r\n", 1)
    at = data.draw(st.integers(0, len(odd)))
    odd = odd[:at] + data.draw(st.binary(max_size=3)) + odd[at + data.draw(st.integers(0, 3)) :]

    async def go() -> None:
        async with serving(in_turn(raw(odd))) as server, opened(server) as delivery:
            try:
                await delivery.deliver(batch_of(2))
            except BackfillError as error:
                assert isinstance(error, CredentialsError | UsageError)  # noqa: PT017

    asyncio.run(go())


@pytest.mark.parametrize("status", [404, 405])
def test_not_the_track_api(status):
    """A destination that knows no such path ends the run as misconfigured."""

    async def scenario(delivery: Delivery) -> None:
        with pytest.raises(UsageError):
            await delivery.deliver(batch_of(3))

    deliver_to(in_turn(then=answer(status)), scenario)


@pytest.mark.parametrize("body", [b"Unauthorized request", b'{"meta":{"error":"Unauthorized"}}'])
def test_a_revoked_key(body):
    """A revoked key is looked up once and ends the run; the error does not hold the key."""

    async def scenario(delivery: Delivery) -> None:
        with pytest.raises(CredentialsError) as caught:
            await delivery.deliver(batch_of(3))
        assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.next_step}"

    server = deliver_to(in_turn(then=answer(401, body, content_type="text/plain")), scenario)

    assert [request.path for request in server.received] == ["/api/v2/batch", KEY_LOOK_UP]


BASIC = CREDENTIALS.authorization()
ECHOES = {
    "header": f'{{"errors":[{{"message":"bad header Authorization: {BASIC}"}}]}}',
    "token": f'{{"errors":[{{"message":"{BASIC.removeprefix("Basic ")}"}}]}}',
    "key": '{"errors":[{"field":"canary-key","reason":"canary-key","message":"canary-key"}]}',
    "escaped": '{"errors":[{"message":"\\u0063anary-\\u006bey"}]}',
    "cut off": f'{{"errors":[{{"message":"{"x" * 290}canary-key"}}]}}',
    "v1": f'{{"meta":{{"error":"{BASIC}"}}}}',
    "plain text": BASIC,
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("status", [400, 207])
def test_a_key_that_the_server_echoes_goes_no_further(echo, status):
    """What a refusal says is kept on disk and shown: never the key, however it is written."""
    answers = []

    async def scenario(delivery: Delivery) -> None:
        answers.append(await delivery.deliver(single("/api/v1/customers/1")))

    deliver_to(in_turn(answer(status, ECHOES[echo].encode())), scenario)

    said = repr(answers)
    assert not any(secret in said for secret in ("canary", "Y2FuYXJ5", "c2l0ZTpjYW5"))


def test_every_operation_is_accounted_for():
    """Some are refused one by one, some by a whole 400: exactly they are refused."""

    def script(request: Received) -> Reply:
        numbers = [each["number"] for each in request.operations]
        if any(number % 50 == 7 for number in numbers):
            return answer(400, b'{"errors":[{"reason":"bad","field":"f","message":"poison"}]}')
        odd = [index for index, number in enumerate(numbers) if number % 50 == 9]
        errors = ",".join(f'{{"batch_index":{i},"message":"odd"}}' for i in odd)
        return answer(207, f'{{"errors":[{errors}]}}'.encode()) if odd else answer()

    async def scenario(delivery: Delivery) -> None:
        outcome = await delivery.deliver(batch_of(200))
        found = {refusal.index: (refusal.reason, refusal.message) for refusal in outcome.refusals}
        assert found == {
            **dict.fromkeys(range(7, 200, 50), ("bad", "poison")),
            **dict.fromkeys(range(9, 200, 50), ("invalid", "odd")),
        }

    deliver_to(script, scenario)


def test_timeouts_leak_no_connections():
    """Many attempts that time out leave the connections usable."""
    script = in_turn(*[hang(), hang(), answer()] * 60)
    quick = Timeouts(connect_s=1, read_s=0.02, total_s=0.02)

    async def scenario(delivery: Delivery) -> None:
        async with asyncio.TaskGroup() as group:
            for first in range(100):
                group.create_task(delivery.deliver(batch_of(1, first)))

    server = deliver_to(script, scenario, timeouts=quick, concurrency=8, outage_max_s=1e9)

    assert {request.operations[0]["number"] for request in server.received} == set(range(100))


def test_the_meter():
    """Attempts, answers and bytes are counted; nothing is left in flight."""

    async def scenario(delivery: TrackDelivery) -> None:
        await three(delivery)
        meter = delivery.meter
        assert (meter.attempts, meter.in_flight) == (2, 0)
        assert meter.answers == {500: 1, 200: 1}
        assert meter.bytes_sent == 2 * len(batch_of(3).body())
        assert meter.latency_s > 0

    deliver_to(in_turn(answer(500)), scenario)
