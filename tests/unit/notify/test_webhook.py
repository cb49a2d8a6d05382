"""A webhook is posted to once or twice, and whatever it does is told in a sentence."""

import asyncio

import pytest

from backfill.notify import webhook
from tests.support import servers

BODY = b'{"text": "done"}'
SILENCE_S = 0.7
"""How long an answer that does not come is waited for; any other has as long as it needs."""

SILENT = (servers.hang(), servers.drip(b"HTTP/1.1 200 OK\r\n" * 99, pause_s=0.05))


def post(script, *, path: str = "/T0/secret", patience_s: float = 60.0):
    """Post to a server with a script; give what was said, and what arrived."""

    async def run():
        async with servers.serving(script) as server:
            said = await asyncio.to_thread(
                webhook.post, server.url + path, BODY, patience_s=patience_s, pause_s=0.0
            )
            return said, server.received

    return asyncio.run(run())


def _patience(reply) -> dict[str, float]:
    return {"patience_s": SILENCE_S} if reply in SILENT else {}


def test_the_body_arrives_as_json():
    """One POST, to the path of the webhook."""
    said, (received,) = post(servers.in_turn())
    assert said == ""
    assert (received.method, received.path, received.body) == ("POST", "/T0/secret", BODY)
    assert received.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "first",
    [servers.answer(500), servers.answer(429), servers.reset(), SILENT[0]],
    ids=["500", "429", "reset", "silence"],
)
def test_what_may_pass_is_tried_once_more(first):
    """A second attempt that succeeds is all that counts."""
    said, received = post(servers.in_turn(first), **_patience(first))
    assert said == ""
    assert len(received) == 2


@pytest.mark.parametrize(
    ("reply", "attempts", "sentence"),
    [
        (servers.answer(404), 1, "the webhook answered 404"),
        (servers.answer(302, headers={"Location": "/"}), 1, "the webhook answered 302"),
        (servers.answer(503), 2, "the webhook answered 503"),
        (SILENT[0], 2, f"the webhook did not answer within {SILENCE_S} s"),
        (SILENT[1], 2, "did not answer within"),
        (servers.raw(b"nonsense\r\n\r\n"), 2, "could not be reached (RemoteProtocolError)"),
    ],
    ids=["404", "redirect", "503", "silence", "drip", "nonsense"],
)
def test_a_failure_is_told_without_the_url(reply, attempts, sentence):
    """Who reads the log must not be able to post."""
    said, received = post(servers.in_turn(then=reply), **_patience(reply))
    assert sentence in said
    assert "secret" not in said
    assert len(received) == attempts


def test_an_answer_without_end_is_not_read():
    """Its head says all there is to know."""
    assert post(servers.in_turn(then=servers.endless()))[0] == ""


def test_nobody_listening_is_told():
    """A refused connection is an answer as well."""
    assert webhook.post("http://127.0.0.1:9/x", BODY, pause_s=0.0) == (
        "the webhook could not be reached (ConnectError)"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/secret",
        "https://u:secret@example.com/",
        "secret",
        "https://[secret",
    ],
)
def test_nothing_is_posted_in_the_clear_or_to_nowhere(url):
    """Only https, or this machine; the sentence does not quote it."""
    said = webhook.post(url, BODY)
    assert said.startswith("the webhook's url ")
    assert "secret" not in said
