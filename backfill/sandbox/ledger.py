"""The account of what arrived, kept while it arrives: running counters, never a query."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class Ledger:
    """Running counters.

    Args:
        requests: Requests to the API, whatever became of them.
        operations: Operations in requests that could be read and were carried out, refused
            ones included; a request that a fault kept from being carried out adds none.
        people: People in the workspace now.
        events: Events kept now: without repeats, without those of people who were deleted.
        event_arrivals: Valid events that arrived, repeats included.
        duplicate_events: Those of them whose id had been seen.
        timestamps_replaced: Valid events with a timestamp that is none, stored at "now".
        rejected_operations: Operations refused.
        bytes: Bytes of request bodies.
        kinds: Valid operations by kind.
        outcomes: Operations by outcome.
        bare_people: People whom an event alone made.
    """

    requests: int = 0
    operations: int = 0
    people: int = 0
    events: int = 0
    event_arrivals: int = 0
    duplicate_events: int = 0
    timestamps_replaced: int = 0
    rejected_operations: int = 0
    bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    bare_people: int = 0

    def stats(self) -> dict[str, int]:
        """The nine figures of `/sandbox/stats`."""
        counters = self.everything()
        return {key: value for key, value in counters.items() if key not in _BREAKDOWN}

    def breakdown(self) -> dict[str, Any]:
        """What `/sandbox/stats` adds up, in its parts."""
        counters = self.everything()
        return {key: counters[key] for key in _BREAKDOWN}

    def everything(self) -> dict[str, Any]:
        """All counters, as `restored` takes them again."""
        return {counter.name: getattr(self, counter.name) for counter in fields(self)}


_BREAKDOWN = ("kinds", "outcomes", "bare_people")


def restored(counters: dict[str, Any]) -> Ledger:
    """The ledger that was written as JSON."""
    ledger = Ledger(**counters)
    ledger.kinds, ledger.outcomes = Counter(ledger.kinds), Counter(ledger.outcomes)
    return ledger
