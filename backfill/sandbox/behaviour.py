"""How a sandbox behaves: where it listens, who may call, and what the documentation leaves open."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from backfill.errors import UsageError

DAY_S = 86_400

WindowSeconds = Annotated[int, Field(ge=0, le=2**40)]
"""Seconds that no arithmetic on them can overflow."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the Track API's documentation does not say, or says in two ways, as switches.

    The defaults are the best-supported reading; README.md beside this file names the sources.

    Args:
        all_invalid_batch: The status of a batch whose every item is invalid.
        oversize: The status of a request that is too large.
        bad_event_id: What happens to an event whose id is no ULID: refused, or stored as if
            it had none.
        unauthorized_body: The form of a 401's body.
        dedupe_window_s: How long an event id is remembered; None is for ever, 0 is never.
        old_identify: What an identify does that is stamped before the person's latest change:
            its attributes take their place in the history, or all of it is skipped.
        milliseconds: What happens to a timestamp beyond the year 5138, as milliseconds give it:
            replaced by now like any that is not valid, or kept as it is.
        email_by_id: Whether a call that names a person by id may change the e-mail.
        event_values_limited: Whether v2 holds the attributes of events, too, to 1000 bytes each.
        merged_events: Which events of the secondary person a merge hands over: all (the older
            ones take the service up to an hour), or those of the last 30 days.
        automatic_merge: Whether an identify merges two people of whom one has only the id and
            the other only the e-mail.
        app_lag_s: How many seconds the App API's answers lag behind what has arrived.
        app_limited: Whether the App API answers 429 beyond ten requests a second.
    """

    all_invalid_batch: Literal[207, 400] = 207
    oversize: Literal[413, 400] = 413
    bad_event_id: Literal["reject", "ignore"] = "ignore"
    unauthorized_body: Literal["text", "json"] = "text"
    dedupe_window_s: WindowSeconds | None = None
    old_identify: Literal["order", "skip"] = "order"
    milliseconds: Literal["now", "keep"] = "now"
    email_by_id: bool = True
    event_values_limited: bool = False
    merged_events: Literal["all", "30 days"] = "all"
    automatic_merge: bool = True
    app_lag_s: Annotated[float, Field(ge=0, le=DAY_S)] = 0.0
    app_limited: bool = True


def changed(behaviour: Behaviour, changes: Any) -> Behaviour:
    """The behaviour with some of its switches set otherwise.

    Raises:
        UsageError: There is no such switch, or no such position of it.
    """
    known = asdict(behaviour)
    # a misspelt switch must not look as if it had been set
    if not isinstance(changes, dict) or (unknown := changes.keys() - known):
        names = ", ".join(sorted(unknown)) if isinstance(changes, dict) else "an object is needed"
        raise UsageError(f"no such switch: {names}", next_step=f"there are {', '.join(known)}")
    try:
        return TypeAdapter(Behaviour).validate_python({**known, **changes})
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UsageError("no such behaviour: " + "; ".join(mistakes)) from error


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """One sandbox.

    Args:
        host: The address to listen on. Beyond loopback, `/sandbox/*` asks for a token.
        port: The port; 0 takes a free one.
        data: The folder that outlives restarts; None keeps everything in memory.
        tls: Serve https with a certificate made for 127.0.0.1, localhost and the `names`.
        names: Further names that clients may call it by on loopback, as `track.customer.io`
            for one whose host is fixed and was redirected by name.
        now_s: A time to stand still at, in unix seconds; None follows the clock.
        site_id: The user name of Basic authentication; no secret.
        api_key: The password; no secret either.
        app_key: What the App API asks for as a bearer token; no secret either.
        region: What the region lookup answers.
        behaviour: The switches.
        faults: The script of faults that it starts with, as `POST /sandbox/faults` takes it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    data: Path | None = None
    tls: bool = False
    names: tuple[str, ...] = ()
    now_s: float | None = None
    site_id: str = "sandbox"
    api_key: str = "sandbox"  # printed on every start: it opens a toy
    app_key: str = "sandbox"
    region: Literal["us", "eu"] = "us"
    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: Any = None
