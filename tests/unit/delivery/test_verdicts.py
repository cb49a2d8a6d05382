"""What every answer means."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.delivery.verdicts import (
    DOUBTS_MAX,
    Abort,
    Answer,
    BatchRetryState,
    Halve,
    NoAnswer,
    Retry,
    Settled,
    Unauthorized,
    judge,
    retry_after_s,
)
from backfill.errors import CredentialsError, UsageError
from backfill.retrying import CircuitBreaker

JSON = {"content-type": "application/json; charset=utf-8"}
HTML = {"content-type": "text/html"}


def some_refused(*indexes: object) -> Answer:
    """A 207 that names these indexes."""
    errors = [
        {"batch_index": i, "reason": "invalid", "field": "f", "message": "m"} for i in indexes
    ]
    return Answer(207, orjson.dumps({"errors": errors}), JSON)


bodies = st.binary(max_size=60) | st.builds(
    orjson.dumps,
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["errors", "meta", "error", "batch_index", "reason", "message"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
)
headers = st.dictionaries(
    st.sampled_from(["content-type", "retry-after", "date", "location"]), st.text(max_size=30)
)


@given(st.integers(0, 1200), bodies, headers, st.integers(1, 5))
def test_every_answer_has_a_verdict(status, body, headers, count):
    """Whatever the service says, there is a verdict, and its refusals name operations once."""
    verdict = judge(Answer(status, body, headers), count)

    assert isinstance(verdict, Settled | Halve | Retry | Unauthorized | Abort)
    if isinstance(verdict, Settled):
        indexes = [refusal.index for refusal in verdict.refusals]
        assert indexes == sorted(set(indexes))
        assert all(0 <= index < count for index in indexes)
        assert all(refusal.reason and refusal.message.isprintable() for refusal in verdict.refusals)
    if isinstance(verdict, Retry) and verdict.after_s is not None:
        assert 0 <= verdict.after_s <= 300
    assert not (isinstance(verdict, Halve) and count == 1), "one operation has no halves"


@given(st.integers(0, 1200), bodies, headers, st.integers(1, 5))
def test_only_success_delivers(status, body, headers, count):
    """Nothing is delivered but by 2xx, and by 200 only with an empty body or `{}`."""
    verdict = judge(Answer(status, body, headers), count)

    if isinstance(verdict, Settled) and len(verdict.refusals) < count:
        assert 200 <= status < 300
        if status != 207:
            assert body.strip() in (b"", b"{}")


@pytest.mark.parametrize("body", [b"", b"{}", b"{}\n", b" {\n} "])
def test_success(body):
    """200 with nothing, or with an empty object, delivers everything."""
    assert judge(Answer(200, body, JSON), 3) == Settled()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>Log in</html>", HTML),
        (b"{}", HTML),
        (b"", HTML),
        (b"{", JSON),
        (b"[]", JSON),
        (b"null", JSON),
        (b'"{}"', JSON),
        (b'{"errors":[]}', JSON),
        (b"\xff", JSON),
    ],
)
def test_a_doubtful_success_is_unknown(body, headers):
    """200 with anything else may come from somebody else: it is tried again."""
    assert judge(Answer(200, body, headers), 3) == Retry("unknown")


def test_some_refused():
    """207 refuses the operations that it names, and delivers the others."""
    verdict = judge(some_refused(2, 0), 3)

    assert isinstance(verdict, Settled)
    assert [(r.index, r.reason, r.field, r.message) for r in verdict.refusals] == [
        (0, "invalid", "f", "m"),
        (2, "invalid", "f", "m"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        some_refused(1, 1),
        some_refused(0, 3),
        some_refused(0, -1),
        some_refused(0, None),
        some_refused(0, "1"),
        some_refused(0, 1.0),
        some_refused(0, True),
        some_refused(),
        Answer(207, b"{}", JSON),
        Answer(207, b'{"errors":"no"}', JSON),
        Answer(207, b'{"errors":[5]}', JSON),
        Answer(207, b'{"errors":[{"batch_in', JSON),
        Answer(207, b"<html>", HTML),
        Answer(207, b"", JSON),
    ],
)
def test_a_207_in_doubt_is_halved(answer):
    """A 207 that cannot be believed word for word is asked again in halves."""
    assert judge(answer, 3) == Halve()


def test_a_207_for_one_operation():
    """For a single operation any error is its own; without one the outcome is unknown."""
    refused = judge(some_refused(7), 1)

    assert isinstance(refused, Settled)
    assert refused.refusals[0].index == 0
    assert judge(Answer(207, b"<html>", HTML), 1) == Retry("unknown")


@pytest.mark.parametrize("status", [400, 422, 413, 414, 431])
def test_a_refused_batch_is_halved(status):
    """A batch that is refused as a whole, or too large, is sent in halves."""
    assert judge(Answer(status, b"", JSON), 2) == Halve()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            b'{"errors":[{"reason":"required","field":"name","message":"is missing"}]}',
            ("required", "name", "is missing"),
        ),
        (
            400,
            b'{"errors":[{"field":"a","message":"one"},{"field":"b","message":"two"}]}',
            ("invalid", "a", "one; two"),
        ),
        (400, b'{"meta":{"error":"no such person"}}', ("invalid", "", "no such person")),
        (400, b'{"meta":{"errors":["one","two"]}}\n', ("invalid", "", "one; two")),
        (400, b"Unauthorized request", ("invalid", "", "HTTP 400 without an explanation")),
        (400, b"", ("invalid", "", "HTTP 400 without an explanation")),
        (400, b'{"meta": {}}', ("invalid", "", "HTTP 400 without an explanation")),
        (413, b"<html>", ("too_large", "", "HTTP 413 without an explanation")),
        (
            400,
            b'{"meta":{"error":"two\\nlines \\u001b[31mred"}}',
            ("invalid", "", "two lines [31mred"),
        ),
    ],
)
def test_one_operation_is_refused_with_the_reason(status, body, expected):
    """A single refused operation keeps the API's reason, field and message, in one line."""
    verdict = judge(Answer(status, body, JSON), 1)

    assert isinstance(verdict, Settled)
    (refusal,) = verdict.refusals
    assert (refusal.reason, refusal.field, refusal.message) == expected


def test_messages_are_short():
    """A message without end is cut, so that a report stays one."""
    verdict = judge(Answer(400, orjson.dumps({"meta": {"error": "x" * 9_999}}), JSON), 1)

    assert isinstance(verdict, Settled)
    assert len(verdict.refusals[0].message) == 300


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 511, 520, 521, 522, 523, 524])
def test_the_service_fails(status):
    """A failure of the service is tried again, after its hint."""
    assert judge(Answer(status, b"<html>", HTML), 3) == Retry("server")
    hinted = Answer(status, b"", {"retry-after": "7"})
    assert judge(hinted, 3) == Retry("server", 7.0)


def test_throttled():
    """429 is tried again, and slows down."""
    assert judge(Answer(429), 3) == Retry("throttled")
    assert judge(Answer(429, b"", {"retry-after": "2"}), 1) == Retry("throttled", 2.0)


@pytest.mark.parametrize("status", [401, 403])
def test_the_key_is_doubted(status):
    """401 and 403 are about the key, whatever their body looks like."""
    assert judge(Answer(status, b"Unauthorized request"), 3) == Unauthorized()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_redirects_stop_the_run(status):
    """A redirect is never followed: it names the region as the likely cause."""
    there = {"location": "https://track-eu.customer.io/api/v2/batch"}
    verdict = judge(Answer(status, b"", there), 3)

    assert isinstance(verdict, Abort)
    assert isinstance(verdict.error, CredentialsError)
    assert "to the EU" in verdict.error.what
    assert "region" in verdict.error.next_step


@pytest.mark.parametrize("status", [402, 404, 405, 407, 410, 415, 451, 501, 505])
def test_a_wrong_destination_stops_the_run(status):
    """What no later attempt can fix is a matter of the settings."""
    verdict = judge(Answer(status), 3)

    assert isinstance(verdict, Abort)
    assert isinstance(verdict.error, UsageError)
    assert str(status) in verdict.error.what


@pytest.mark.parametrize("kind", ["unreachable", "dropped", "timeout", "garbled"])
def test_no_answer(kind):
    """An attempt without an answer is tried again."""
    assert judge(NoAnswer(kind), 3) == Retry("network")


def test_an_untrusted_certificate_stops_the_run():
    """A certificate that proves nothing is never ignored."""
    verdict = judge(NoAnswer("untrusted"), 3)

    assert isinstance(verdict, Abort)
    assert isinstance(verdict.error, CredentialsError)
    assert "SSL_CERT_FILE" in verdict.error.next_step


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("0", "", 0.0),
        ("7", "", 7.0),
        (" 7 ", "", 7.0),
        ("007", "", 7.0),
        ("301", "", 300.0),
        ("9" * 5000, "", 300.0),
        ("", "", None),
        ("-5", "", None),
        ("1.5", "", None),
        ("1e9", "", None),
        ("soon", "", None),
        ("NaN", "", None),
        ("inf", "", None),
        ("\u0667", "", None),
        ("Sat, 21 Nov 2026 23:00:30 GMT", "Sat, 21 Nov 2026 23:00:00 GMT", 30.0),
        ("Sat, 21 Nov 2026 22:00:00 GMT", "Sat, 21 Nov 2026 23:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2027 22:00:00 GMT", "Sat, 21 Nov 2026 23:00:00 GMT", 300.0),
        ("Sat, 01 Jan 3000 00:00:00 GMT", "Sat, 21 Nov 2026 23:00:00 GMT", 300.0),
        ("Sat, 01 Jan 99999 00:00:00 GMT", "Sat, 21 Nov 2026 23:00:00 GMT", None),
        ("Sun, 22 Nov 2026 00:00:30 +0100", "Sat, 21 Nov 2026 23:00:00 GMT", 30.0),
        ("Sat, 21 Nov 2026 23:00:30 GMT", "", None),
        ("Sat, 21 Nov 2026 23:00:30", "Sat, 21 Nov 2026 23:00:00 GMT", None),
        ("Sat, 21 Nov 2026 23:00:30 -0000", "Sat, 21 Nov 2026 23:00:00 GMT", None),
        ("Sat, 99 Nov 2026 23:00:30 GMT", "Sat, 21 Nov 2026 23:00:00 GMT", None),
    ],
)
def test_retry_after(value, date, expected):
    """Both forms of the hint are read against the service's clock, or not at all."""
    assert retry_after_s(value, date) == expected


@given(st.text(max_size=40), st.text(max_size=40))
def test_retry_after_never_raises(value, date):
    """No text in the header breaks the reading of it."""
    seconds = retry_after_s(value, date)

    assert seconds is None or 0 <= seconds <= 300


def test_the_first_failure_of_a_batch_is_no_doubt_about_it():
    """The others may fail a moment later."""
    patience, health = BatchRetryState(2, outage_max_s=900), CircuitBreaker()
    for _ in range(DOUBTS_MAX):
        health.succeeded()
        assert patience.failed("server", 0.0, health) is None
        health.failed(0.0)
    health.succeeded()
    health.succeeded()
    assert patience.failed("server", 0.0, health) == Halve()


def failures(patience: BatchRetryState, kinds: list[str], *, others: int, too: int = 0) -> object:
    """Fail with these kinds, a second apart; between two, `others` succeed and some fail `too`."""
    conclusion, health = None, CircuitBreaker()
    for second, kind in enumerate(kinds):
        conclusion = patience.failed(kind, float(second), health)
        if conclusion:
            break
        for _ in range(1 + too):
            health.failed(float(second))
        for _ in range(others):
            health.succeeded()
    return conclusion


def test_a_shared_failure_never_refuses():
    """As long as nobody has success, no batch is doubted, however often it fails."""
    for kind in ("server", "network", "unknown"):
        assert failures(BatchRetryState(1, outage_max_s=900), [kind] * 10_000, others=0) is None


@pytest.mark.parametrize("kind", ["server", "network", "unknown"])
def test_an_outage_that_lets_some_through_refuses_nothing(kind):
    """As long as no more requests succeed than fail, a failure is everybody's."""
    assert failures(BatchRetryState(1, outage_max_s=900), [kind] * 10_000, others=5, too=5) is None
    assert (
        failures(BatchRetryState(1, outage_max_s=900), [kind] * 10_000, others=6, too=5) is not None
    )


def test_a_throttle_never_refuses():
    """A throttle says nothing about the batch, even while others are accepted."""
    assert failures(BatchRetryState(1, outage_max_s=900), ["throttled"] * 10_000, others=1) is None


def test_a_doubtful_batch_is_halved():
    """A batch that alone fails, again and again, is halved to find the culprit."""
    assert failures(BatchRetryState(2, outage_max_s=900), ["server"] * 20, others=1) == Halve()


def test_a_single_operation_without_a_clear_answer_is_refused():
    """An operation whose answers cannot be read, while others are accepted, is refused."""
    conclusion = failures(BatchRetryState(1, outage_max_s=900), ["unknown"] * 20, others=1)

    assert isinstance(conclusion, Settled)
    assert conclusion.refusals[0].reason == "unknown_outcome"


@pytest.mark.parametrize("kind", ["server", "network"])
def test_a_failing_service_gets_the_time_of_an_outage(kind):
    """An operation on which the service fails is refused only after the length of an outage."""
    assert failures(BatchRetryState(1, outage_max_s=900), [kind] * 900, others=1) is None
    assert isinstance(
        failures(BatchRetryState(1, outage_max_s=900), [kind] * 901, others=1), Settled
    )


def test_a_dropped_connection_is_tried_again_at_once_only_once():
    """The race for a kept connection is excused the first time."""
    patience = BatchRetryState(1, outage_max_s=900)

    assert [patience.may_hurry() for _ in range(3)] == [True, False, False]
