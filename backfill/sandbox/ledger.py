"""The account of what arrived, kept while it arrives: running counters, never a query."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from backfill.sandbox.operation import EVENT_KINDS


@dataclass(slots=True)
class Ledger:
    """Running counters of what arrived, kept while it arrives: never a query.

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
        stamped_people: People added without `created_at`, whom the service stamped with "now".
        failed_identifiers: Identifies of which an identifier was another person's: the rest was
            applied.
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
    stamped_people: int = 0
    failed_identifiers: int = 0

    def stats(self) -> dict[str, int]:
        """The nine figures of `/sandbox/stats`."""
        return {name: value for name, value in self.everything().items() if name not in _BREAKDOWN}

    def breakdown(self) -> dict[str, Any]:
        """What `/sandbox/stats` adds up, in its parts."""
        return {name: value for name, value in self.everything().items() if name in _BREAKDOWN}

    def everything(self) -> dict[str, Any]:
        """All counters, as `Ledger.restored` takes them again."""
        return {counter.name: getattr(self, counter.name) for counter in fields(self)}

    def count(
        self, kinds: Sequence[str], outcomes: Sequence[str], replaced: Sequence[bool]
    ) -> None:
        """Count operations by what became of them.

        Args:
            kinds: The kind of each, length n.
            outcomes: What became of each, length n.
            replaced: Whether each came with a timestamp that is none, length n.
        """
        self.operations += len(kinds)
        alike = Counter(zip(kinds, outcomes, replaced, strict=True))
        for (kind, outcome, was_replaced), count in alike.items():
            self.outcomes[outcome] += count
            # what was refused is no operation of any kind: it was not carried out
            if outcome == "rejected":
                self.rejected_operations += count
                continue
            self.kinds[kind] += count
            if kind in EVENT_KINDS:
                self.event_arrivals += count
                self.duplicate_events += count * (outcome == "duplicate")
                self.events += count * (outcome == "applied")
                self.timestamps_replaced += count * was_replaced

    @classmethod
    def restored(cls, counters: Mapping[str, Any]) -> "Ledger":
        """The ledger that was written as JSON."""
        kinds, outcomes = Counter(counters["kinds"]), Counter(counters["outcomes"])
        return cls(**{**counters, "kinds": kinds, "outcomes": outcomes})


_BREAKDOWN = ("kinds", "outcomes", "bare_people", "stamped_people", "failed_identifiers")
