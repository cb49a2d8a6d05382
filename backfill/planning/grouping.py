"""Which rows belong together, over the whole job: people, shared e-mails, repeated events.

The rows of a chunk come as records with the hash of what they may have in common; rows of one
hash meet in one partition, and what becomes of each is decided there.
"""

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import CustomersSource, EventsSource
from backfill.planning.folder import PlanFolder
from backfill.planning.hash_groups import (
    BUFFERED_RECORDS_MAX,
    PARTITIONS,
    PIECE_RECORDS_MAX,
    Hashes,
    HashPartitions,
    Records,
    contained,
    first_in_group,
    group_by_hash,
    in_pieces,
    make_records,
    running_counts,
    weights,
)
from backfill.planning.row_decisions import RowDecision, RowDecisions
from backfill.rows import Rows

_SHOWN_MAX = 3


@dataclass(slots=True)
class Groups:
    """How many rows were found to belong together, by source.

    Args:
        merged: Customers rows that go out with another row of their person.
        skipped: Rows that are left out, by source and decision.
        identical: Events that are like an earlier one in every field.
        repeated_keys: Events with the key of an earlier one and other content.
        shared_emails: E-mail addresses that several people have.
        unknown_people: People whom only events name.
        unknown_rows: Their rows, where those are rejected.
        both: People in customers and in deletions.
        both_at: The part and row of some of them, in the deletions.
        parts: The parts that have rows to be looked at once more.
    """

    merged: Counter[int] = field(default_factory=Counter)
    skipped: Counter[tuple[int, RowDecision]] = field(default_factory=Counter)
    identical: Counter[int] = field(default_factory=Counter)
    repeated_keys: Counter[int] = field(default_factory=Counter)
    shared_emails: Counter[int] = field(default_factory=Counter)
    unknown_people: Counter[int] = field(default_factory=Counter)
    unknown_rows: Counter[int] = field(default_factory=Counter)
    both: int = 0
    both_at: list[tuple[int, int]] = field(default_factory=list)
    parts: set[int] = field(default_factory=set)


class Grouping:
    """Gathers who and what each row is about, and decides about the rows that are not alone.

    Args:
        pipeline: The policies.
        folder: The plan's directory; the decisions stay in it.
        buffered_max: So many records of each kind stay in memory.
        piece_max: About so many of them are resolved at once, if need be.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        folder: Path,
        buffered_max: int = BUFFERED_RECORDS_MAX,
        piece_max: int = PIECE_RECORDS_MAX,
    ) -> None:
        self.marks = RowDecisions(PlanFolder(folder).decisions, buffered_max)
        self._sources = pipeline.sources
        self._has_customers = pipeline.has_customers
        self._unknown = {
            index: pipeline.unknown_people(source)
            for index, source in enumerate(pipeline.sources)
            if isinstance(source, EventsSource)
        }

        self._partitions = folder / "partitions"

        def partitions(name: str) -> HashPartitions:
            return HashPartitions(self._partitions, name, buffered_max, piece_max=piece_max)

        self._people, self._named = partitions("people"), partitions("named")
        self._emails, self._left_out = partitions("emails"), partitions("left-out")
        self._events, self._actors = partitions("events"), partitions("actors")
        self._known, self._deletions = partitions("known"), partitions("deletions")
        self._found = Groups()

    def add_people(self, people: Records, named: Records, emails: Records | None) -> None:
        """Customers rows: the accepted ones, everybody named, the e-mail addresses of people.

        Args:
            people: By person.
            named: By person, those of rejected rows included.
            emails: By e-mail address; the content is the person.
        """
        self._people.add(people)
        self._named.add(named)
        if emails is not None:
            self._emails.add(emails)

    def add_events(self, events: Records) -> None:
        """Events rows that may be repeats, by what makes each itself."""
        self._events.add(events)

    def add_actors(self, actors: Records) -> None:
        """Events rows, by the people they are about."""
        if self._has_customers:
            self._actors.add(actors)

    def add_known(self, people: Iterable[Hashes]) -> None:
        """People who were sent before, uint64 (n, 2) each: no event makes a new profile of them."""
        for some in people:
            nowhere = np.zeros(len(some), np.int64)
            self._known.add(make_records(some, nowhere, part=0, source=0, settled=nowhere > 0))

    def add_deletions(self, people: Records) -> None:
        """Deletions rows, by person."""
        self._deletions.add(people)

    def resolve(self) -> Groups:
        """Decide about the rows that belong together; to be called once, after all were added."""
        numbers = range(PARTITIONS)
        # E-mails first: a row that is left out for its address is merged with no other.
        for number in numbers:
            in_pieces(self._emails.pieces(number, by_rank=True), self._resolve_emails)
        for number in numbers:
            left_out = _place(self._left_out.partition(number))
            pieces = self._people.pieces(number, by_rank=False)
            in_pieces((_open(each, left_out) for each in pieces), self._resolve_people)
        for number in numbers:
            in_pieces(self._events.pieces(number, by_rank=True), self._resolve_events)
        for number in numbers:
            known = self._named.hashes(number), self._known.hashes(number)
            resolve = partial(self._resolve_actors, np.concatenate(known))
            in_pieces(self._actors.pieces(number, by_rank=False), resolve)
        for number in numbers:
            resolve = partial(self._resolve_deletions, self._named.hashes(number))
            in_pieces(self._deletions.pieces(number, by_rank=True), resolve)
        self.marks.flush()
        shutil.rmtree(self._partitions, ignore_errors=True)
        return self._found

    def _resolve_emails(self, some: Records) -> None:
        """E-mail addresses that several people have; the hash is the address."""
        ordered, group = group_by_hash(some)
        first = first_in_group(group)
        others = (ordered["content"] != ordered["content"][first]).any(axis=1)
        own = ordered["rank"] >= 0
        counted = np.isin(group, group[others & ~own])
        shared = others & own & ~counted
        _, first_other = np.unique(group[shared], return_index=True)
        self._found.shared_emails.update(ordered["source"][shared][first_other].tolist())
        skipping = [
            index
            for index, source in enumerate(self._sources)
            if isinstance(source, CustomersSource) and source.shared_emails == "first"
        ]
        skipped = ordered[others & own & np.isin(ordered["source"], skipping)]
        self._skip(RowDecision.SHARED_EMAIL, skipped)
        by_person = skipped.copy()
        by_person["hash"] = skipped["content"]
        self._left_out.add(by_person)

    def _resolve_people(self, some: Records) -> None:
        """People who occur in several rows: the first row carries them."""
        ordered, group = group_by_hash(some)
        if not len(ordered):
            return
        first = first_in_group(group)
        is_first = first == np.arange(len(ordered))
        carriers, members = ordered[is_first], ordered[~is_first]
        carried_by = ordered[first[~is_first]]
        carriers = carriers[weights(carriers) == 1]  # the others carried members before
        self.marks.add(RowDecision.CARRIER, carriers["part"], carriers["row"])
        self.marks.add(
            RowDecision.MERGED,
            members["part"],
            members["row"],
            value=carried_by["row"],
            other=carried_by["part"],
        )
        self._found.merged.update(members["source"].tolist())
        self._found.parts.update(np.unique(ordered["part"]).tolist())

    def _resolve_events(self, some: Records) -> None:
        """Events that repeat one another; the hash is what makes an event itself."""
        ordered, group = group_by_hash(some)
        if not len(ordered):
            return
        first, own = first_in_group(group), ordered["rank"] >= 0
        alike = (ordered["content"] == ordered["content"][first]).all(axis=1)
        identical = own & alike & (first != np.arange(len(ordered)))
        others = own & ~alike
        self._found.identical.update(ordered["source"][identical].tolist())
        self._found.repeated_keys.update(ordered["source"][others].tolist())
        numbers = running_counts(np.where(alike, weights(ordered), 0), first)
        kept = identical & np.isin(ordered["source"], self._with("identical_rows", "keep"))
        copies = ordered[kept]
        self.marks.add(RowDecision.OCCURRENCE, copies["part"], copies["row"], value=numbers[kept])
        collapsed = identical & np.isin(ordered["source"], self._with("identical_rows", "collapse"))
        self._skip(RowDecision.IDENTICAL, ordered[collapsed])
        later = others & np.isin(ordered["source"], self._with("repeated_keys", "first"))
        self._skip(RowDecision.REPEATED_KEY, ordered[later])

    def _resolve_actors(self, known: Hashes, some: Records) -> None:
        """People whom only events name."""
        unknown = some[~contained(some["hash"], known)]
        people = unknown[np.unique(unknown["hash"], axis=0, return_index=True)[1]]
        self._found.unknown_people.update(people["source"][people["rank"] >= 0].tolist())
        rejecting = [index for index, policy in self._unknown.items() if policy == "reject"]
        rejected = unknown[
            np.isin(unknown["source"], rejecting) & ~unknown["settled"] & (unknown["rank"] >= 0)
        ]
        self.marks.add(RowDecision.UNKNOWN_PERSON, rejected["part"], rejected["row"])
        self._found.unknown_rows.update(rejected["source"].tolist())
        self._found.parts.update(np.unique(rejected["part"]).tolist())

    def _resolve_deletions(self, named: Hashes, some: Records) -> None:
        """People to be deleted: once each, and nobody who is in customers too."""
        people = some[np.unique(some["hash"], axis=0, return_index=True)[1]]
        deleted = people[people["rank"] >= 0]
        both = deleted[contained(deleted["hash"], named)]
        self._found.both += len(both)
        self._found.both_at += zip(both["part"].tolist(), both["row"].tolist(), strict=True)
        self._found.both_at = sorted(self._found.both_at)[:_SHOWN_MAX]
        ordered, group = group_by_hash(some)
        again = first_in_group(group) != np.arange(len(ordered))
        self._skip(RowDecision.REPEATED_PERSON, ordered[again])

    def _skip(self, decision: RowDecision, skipped: Records) -> None:
        """Leave rows out; those that are settled are counted elsewhere."""
        self.marks.add(decision, skipped["part"], skipped["row"])
        counted = skipped["source"][~skipped["settled"]].tolist()
        self._found.skipped.update((source, decision) for source in counted)

    def _with(self, setting: str, value: str) -> list[int]:
        """The sources whose setting has this value."""
        return [
            index
            for index, source in enumerate(self._sources)
            if getattr(source, setting, None) == value
        ]


def _open(some: Records, left_out: npt.NDArray[np.int64]) -> Records:
    """The rows of people who may be merged.

    Args:
        some: RECORD (n,), by person.
        left_out: The places of rows that are skipped, int64 (m,).
    """
    # Rows settled before took their people with them: those who follow are sent by themselves.
    open_: Records = some[~(np.isin(_place(some), left_out) | some["settled"])]
    open_["rank"] = 0  # among people the order of the files counts
    return open_


def _place(some: Records) -> npt.NDArray[np.int64]:
    """Part and row of n records as one number, int64 (n,): 2^40 rows a file, 2^23 files."""
    place: Rows = (some["part"].astype(np.int64) << 40) | some["row"]
    return place
