"""The Track API by hand, one call at a time: `TrackClient`."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from secrets import SystemRandom, token_bytes
from typing import Any, Literal, Self
from uuid import UUID

import orjson

from backfill.client.json_values import (
    TimestampValue,
    event_id,
    event_name,
    identifier,
    plain,
    unix_time,
)
from backfill.client.sync_transport import (
    Calls,
    DestinationError,
    RefusedError,
    TrackError,
    UnansweredError,
    UnauthorizedError,
    Waits,
)
from backfill.delivery.credentials import Credentials
from backfill.delivery.destination import destination
from backfill.delivery.outcome import Refusal
from backfill.delivery.region import Region
from backfill.delivery.verdicts import Settled
from backfill.encoding.identity import in_path, ulid_text

__all__ = [
    "DestinationError",
    "RefusedError",
    "TrackClient",
    "TrackError",
    "UnansweredError",
    "UnauthorizedError",
]

BATCH_PATH = "/api/v2/batch"
ENTITY_PATH = "/api/v2/entity"
BATCH_BYTES_MAX = 500_000
"""A v2 batch must be smaller (Track OpenAPI; kb read as 1000)."""
_WRAPPER_BYTES = len(b'{"batch":[]}')
SEGMENT_IDS_MAX = 1000
"""So many people join or leave a segment in one request (Track OpenAPI)."""
_EVENTS = frozenset({"event", "page", "screen"})

Identifier = str | int | UUID
IdType = Literal["id", "email", "cio_id"]
Metric = Literal[
    "bounced", "clicked", "converted", "deferred", "delivered", "dropped", "opened", "spammed"
]
Keys = Mapping[str, Any] | None
Encoded = Sequence[bytes]


class TrackClient:
    """The Track API, one call at a time. Safe to use from many threads.

    Each call is tried up to five times. An event without an id gets one, so that no retry can
    record it twice: Customer.io ignores an id that it has seen.

    Every method raises a `TrackError` when the call has no success, and a `ValueError` that names
    the key, before anything is sent, for a value that the service would misread.

    Args:
        site_id: The workspace's site id.
        api_key: Its Track API key.
        region: "us" or "eu".
        url: Another destination: https, or this machine.
        timeout_s: For connecting, and for each silence of the service.
        clock: Unix seconds, for the ids of events without a timestamp.
        sleep: Waits for so many seconds between attempts.

    Example:
        >>> with TrackClient("site", "key") as client:  # doctest: +SKIP
        ...     client.identify("42", email="ada@example.com", plan={"name": "gold"})
        ...     client.track("42", "purchased", datetime(2020, 2, 29, tzinfo=UTC), price=29.99)
    """

    def __init__(
        self,
        site_id: str,
        api_key: str,
        *,
        region: Literal["us", "eu"] = "us",
        url: str | None = None,
        timeout_s: float = 10.0,
        clock: Callable[[], float] = time.time,  # noqa: TID251  # the front door brings the clock
        sleep: Callable[[float], None] = time.sleep,  # noqa: TID251  # and the sleep
    ) -> None:
        self._clock = clock
        self._calls = Calls(
            destination(region=region, url=url),
            Credentials(site_id, api_key),
            user_agent=f"backfill-client/{version('backfill')}",
            timeout_s=timeout_s,
            waits=Waits(sleep, SystemRandom().random),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def identify(
        self,
        /,
        id: Identifier,  # noqa: A002  # the API's word
        attributes: Keys = None,
        **more: Any,
    ) -> None:
        """Create or update a person.

        Args:
            id: Whom: an id, an e-mail, or `cio_…`, told apart by its shape.
            attributes: What to set, by any name: whom an e-mail names gets an id by
                `{"id": "42"}`.
            more: Further attributes, `email` and `created_at` among them; all may be nested; None
                removes the attribute.
        """
        self._call("PUT", _person(id), plain(_joined(attributes, more)))

    def delete(self, /, id: Identifier) -> None:  # noqa: A002  # the API's word
        """Delete a person."""
        self._call("DELETE", _person(id))

    def suppress(self, /, id: Identifier) -> None:  # noqa: A002  # the API's word
        """Delete a person and ignore them from now on."""
        self._call("POST", _person(id, "suppress"), {})

    def unsuppress(self, /, id: Identifier) -> None:  # noqa: A002  # the API's word
        """Take a person into account again."""
        self._call("POST", _person(id, "unsuppress"), {})

    def track(
        self,
        /,
        customer_id: Identifier,
        name: str,
        timestamp: TimestampValue | None = None,
        id: str | None = None,  # noqa: A002  # the API's word
        data: Keys = None,
        **more: Any,
    ) -> None:
        """Record what a person did, now or in the past.

        Args:
            customer_id: Who.
            name: What, up to 100 bytes.
            timestamp: When; left out: when the service receives it.
            id: A ULID; made where there is none.
            data: What belongs to the event, by any name, `name` and `id` among them.
            more: Further data; all may be nested.
        """
        event = self._event(name, timestamp, id, _joined(data, more))
        self._call("POST", _person(customer_id, "events"), event)

    def page(
        self,
        /,
        customer_id: Identifier,
        name: str,
        timestamp: TimestampValue | None = None,
        id: str | None = None,  # noqa: A002  # the API's word
        data: Keys = None,
        **more: Any,
    ) -> None:
        """Record that a person looked at a page; otherwise like `track`."""
        event = self._event(name, timestamp, id, _joined(data, more)) | {"type": "page"}
        self._call("POST", _person(customer_id, "events"), event)

    def screen(
        self,
        /,
        customer_id: Identifier,
        name: str,
        timestamp: TimestampValue | None = None,
        id: str | None = None,  # noqa: A002  # the API's word
        data: Keys = None,
        **more: Any,
    ) -> None:
        """Record that a person looked at a screen of an app; otherwise like `track`."""
        event = self._event(name, timestamp, id, _joined(data, more)) | {"type": "screen"}
        self._call("POST", _person(customer_id, "events"), event)

    def track_anonymous(
        self,
        /,
        anonymous_id: str | None,
        name: str,
        timestamp: TimestampValue | None = None,
        id: str | None = None,  # noqa: A002  # the API's word
        data: Keys = None,
        **more: Any,
    ) -> None:
        """Record what somebody did who is not known yet; otherwise like `track`.

        Args:
            anonymous_id: Who; None: an invite event, for whom `recipient` among the data names.
            name: As for `track`.
            timestamp: As for `track`.
            id: As for `track`.
            data: As for `track`.
            more: As for `track`.
        """
        event = self._event(name, timestamp, id, _joined(data, more))
        if anonymous_id is not None:
            event["anonymous_id"] = identifier(anonymous_id, "anonymous_id")
        self._call("POST", "/api/v1/events", event)

    def add_device(
        self,
        /,
        customer_id: Identifier,
        device_id: str,
        platform: Literal["ios", "android"],
        last_used: TimestampValue | None = None,
        **attributes: Any,
    ) -> None:
        """Add a device of a person, or update it."""
        device = {"id": plain(device_id, "device_id"), "platform": platform}
        if last_used is not None:
            device["last_used"] = unix_time(last_used, "last_used")
        if attributes:
            device["attributes"] = plain(attributes)
        self._call("PUT", _person(customer_id, "devices"), {"device": device})

    def delete_device(self, /, customer_id: Identifier, device_id: str) -> None:
        """Remove a device of a person."""
        # A path of dots would lead to another address.
        if device_id in ("", ".", ".."):
            raise ValueError("device_id: empty, or a path of dots")
        self._call("DELETE", _person(customer_id, "devices", device_id))

    def merge(self, /, primary: Mapping[str, str], secondary: Mapping[str, str]) -> None:
        """Merge the second person into the first; the second is deleted.

        Args:
            primary: One of `id`, `email`, `cio_id`, such as `{"id": "42"}`.
            secondary: Likewise.
        """
        people = {
            "primary": _named(primary, "primary"),
            "secondary": _named(secondary, "secondary"),
        }
        self._call("POST", "/api/v1/merge_customers", people)

    def add_to_segment(
        self, /, segment_id: int, ids: Iterable[Identifier], id_type: IdType = "id"
    ) -> None:
        """Put people into a manual segment, a thousand a request; they must exist."""
        self._change_segment(segment_id, "add_customers", ids, id_type)

    def remove_from_segment(
        self, /, segment_id: int, ids: Iterable[Identifier], id_type: IdType = "id"
    ) -> None:
        """Take people out of a manual segment, a thousand a request."""
        self._change_segment(segment_id, "remove_customers", ids, id_type)

    def submit_form(self, /, form_id: str, data: Keys = None, **more: Any) -> None:
        """Submit a form of somebody whom `id` or `email` among the data names."""
        if form_id in ("", ".", ".."):
            raise ValueError("form_id: empty, or a path of dots")
        fields = {"data": plain(_joined(data, more))}
        self._call("POST", f"/api/v1/forms/{in_path(form_id)}/submit", fields)

    def report_metric(
        self,
        /,
        delivery_id: str,
        metric: Metric,
        timestamp: TimestampValue | None = None,
        **more: str,
    ) -> None:
        """Report what became of a message.

        Args:
            delivery_id: The message, by the CIO-Delivery-ID that it carries.
            metric: What happened to it.
            timestamp: When; left out: when the service receives it.
            more: `recipient`, `reason`, `href`, as far as they belong to the metric.
        """
        body = {"delivery_id": delivery_id, "metric": metric, **plain(more)}
        self._call("POST", "/api/v1/metrics", body | _at(timestamp))

    def report_push(
        self,
        /,
        delivery_id: str,
        event: Literal["opened", "converted", "delivered"],
        device_id: str,
        timestamp: TimestampValue | None = None,
    ) -> None:
        """Report what became of a push notification on a device."""
        body = {"delivery_id": delivery_id, "event": event, "device_id": device_id}
        self._call("POST", "/api/v1/push/events", plain(body) | _at(timestamp))

    def unsubscribe(self, /, delivery_id: str) -> None:
        """Unsubscribe whoever received a message, as a page of one's own for that does it."""
        if delivery_id in ("", ".", ".."):
            raise ValueError("delivery_id: empty, or a path of dots")
        self._call("POST", f"/unsubscribe/{in_path(delivery_id)}", {"unsubscribe": True})

    def entity(self, /, operation: Mapping[str, Any]) -> None:
        """Send one v2 operation of any kind, as the v2 API describes it."""
        self._call("POST", ENTITY_PATH, self._operation(plain(operation)))

    def batch(self, /, operations: Iterable[Mapping[str, Any]]) -> None:
        """Send v2 operations of any kind, in as few requests as their size allows.

        Args:
            operations: As the v2 API describes them; an event without an id gets one.

        Raises:
            RefusedError: The API refused some, named by their place among `operations`; all the
                others were accepted.
        """
        # Ids are made before the first try: all tries carry the same.
        encoded = [orjson.dumps(self._operation(plain(each))) for each in operations]
        refusals: list[Refusal] = []
        for first, stop in _packed(encoded):
            refusals += self._send_batch(encoded[first:stop], first)
        if refusals:
            raise RefusedError(refusals)

    def region(self) -> Region:
        """Ask where the workspace is: a good check of the credentials."""
        return self._calls.region()

    def _call(self, method: str, path: str, body: Any = None) -> None:
        encoded = b"" if body is None else orjson.dumps(body)
        verdict, status = self._calls.send(method, path, encoded)
        if isinstance(verdict, Settled) and verdict.refusals:
            raise RefusedError(verdict.refusals, status)

    def _change_segment(
        self, segment_id: int, change: str, ids: Iterable[Identifier], id_type: IdType
    ) -> None:
        number = identifier(segment_id, "segment_id")
        if not number.isdecimal():
            raise ValueError("segment_id: not the number of a segment")
        named = [identifier(each, "ids") for each in ids]
        path = f"/api/v1/segments/{number}/{change}?id_type={id_type}"
        for start in range(0, len(named), SEGMENT_IDS_MAX):
            self._call("POST", path, {"ids": named[start : start + SEGMENT_IDS_MAX]})

    def _event(
        self,
        name: str,
        timestamp: TimestampValue | None,
        given_id: str | None,
        data: Mapping[str, Any],
    ) -> dict[str, Any]:
        event: dict[str, Any] = {"name": event_name(name), "data": plain(data), **_at(timestamp)}
        event["id"] = self._new_id(event) if given_id is None else event_id(given_id)
        return event

    def _operation(self, operation: dict[str, Any]) -> dict[str, Any]:
        if operation.get("timestamp") is not None:
            operation["timestamp"] = unix_time(operation["timestamp"], "timestamp")
        if operation.get("action") in _EVENTS and operation.get("type") == "person":
            operation.setdefault("id", self._new_id(operation))
        return operation

    def _new_id(self, event: Mapping[str, Any]) -> str:
        """A ULID in the event's own time, so that ids sort as the events happened."""
        given_s = event.get("timestamp")
        # Ids sort by when events happened, also for those of the past.
        at_s = given_s if isinstance(given_s, int) else self._clock()
        return ulid_text(int(at_s * 1000), token_bytes(10))

    def _send_batch(self, encoded: Encoded, first: int) -> Iterator[Refusal]:
        """Send operations, in halves where the API does not say which it refuses."""
        body = b'{"batch":[' + b",".join(encoded) + b"]}"
        verdict, _ = self._calls.send("POST", BATCH_PATH, body, len(encoded))
        if isinstance(verdict, Settled):
            yield from (replace(each, index=first + each.index) for each in verdict.refusals)
        else:
            # Each half is judged by itself until the refused ones stand alone.
            middle = len(encoded) // 2
            yield from self._send_batch(encoded[:middle], first)
            yield from self._send_batch(encoded[middle:], first + middle)


def _joined(given: Keys, more: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to a call: keys of any name, and those that were given by name.

    Raises:
        ValueError: A key was given in both ways.
    """
    twice = sorted((given or {}).keys() & more.keys())
    if twice:
        raise ValueError(f"{twice[0]}: given twice")
    return {**(given or {}), **more}


def _at(timestamp: TimestampValue | None) -> dict[str, int]:
    return {} if timestamp is None else {"timestamp": unix_time(timestamp, "timestamp")}


def _person(value: Identifier, *rest: str) -> str:
    """A path about a person."""
    parts = (identifier(value, "id"), *rest)
    return "/api/v1/customers/" + "/".join(in_path(part) for part in parts)


def _named(person: Mapping[str, str], key: str) -> dict[str, str]:
    if len(person) != 1 or not person.keys() <= {"id", "email", "cio_id"}:
        raise ValueError(f"{key}: exactly one of id, email and cio_id")
    return {name: identifier(value, f"{key}.{name}") for name, value in person.items()}


def _packed(encoded: Encoded) -> Iterator[tuple[int, int]]:
    """Where each request begins and ends, so that its body stays below the limit."""
    first, size = 0, _WRAPPER_BYTES
    for index, each in enumerate(encoded):
        # An operation that is too large goes alone, for the service to refuse by name.
        if index > first and size + len(each) + 1 >= BATCH_BYTES_MAX:
            yield first, index
            first, size = index, _WRAPPER_BYTES
        size += len(each) + 1
    if first < len(encoded):
        yield first, len(encoded)
