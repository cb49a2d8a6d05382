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
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import CustomersSource, EventsSource, RelationshipsSource
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

Place: TypeAlias = tuple[int, int]
"""A row: its part and its number."""


@dataclass(slots=True)
class Groups:
    """How many rows were found to belong together, by source.

    Args:
        merged: Customers rows that go out with another row of their person.
        skipped: Rows that are left out, by source and decision.
        identical: Events that are like an earlier one in every field.
        repeated_keys: Events with the key of an earlier one and other content.
        shared_emails: E-mail addresses that several people have.
        unknown_people: People whom no customers row names, by the source that does.
        unknown_rows: Their rows, where those are rejected.
        unknown_objects: Objects of relationships that no objects row names.
        both: What one source takes away and another one brings.
        both_at: The part and row of some of it, in the source that takes it away.
        chained: People whom several merges are about, so that their order would count.
        chained_at: The part and row of some of them.
        lost_primaries: People who are to take others in, and whom no customers row names.
        gone_known: People who are merged away, and are in customers too.
        gone_named: Those whom events name, which come after the merge.
        parts: The parts that have rows to be looked at once more.
    """

    merged: Counter[int] = field(default_factory=Counter)
    skipped: Counter[tuple[int, RowDecision]] = field(default_factory=Counter)
    identical: Counter[int] = field(default_factory=Counter)
    repeated_keys: Counter[int] = field(default_factory=Counter)
    shared_emails: Counter[int] = field(default_factory=Counter)
    unknown_people: Counter[int] = field(default_factory=Counter)
    unknown_rows: Counter[int] = field(default_factory=Counter)
    unknown_objects: Counter[int] = field(default_factory=Counter)
    both: Counter[int] = field(default_factory=Counter)
    both_at: dict[int, list[Place]] = field(default_factory=dict)
    chained: Counter[int] = field(default_factory=Counter)
    chained_at: dict[int, list[Place]] = field(default_factory=dict)
    lost_primaries: Counter[int] = field(default_factory=Counter)
    gone_known: Counter[int] = field(default_factory=Counter)
    gone_named: Counter[int] = field(default_factory=Counter)
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
            if isinstance(source, EventsSource | RelationshipsSource)
        }
        self._has_objects = pipeline.has("objects")

        self._partitions = folder / "partitions"

        def partitions(name: str) -> HashPartitions:
            return HashPartitions(self._partitions, name, buffered_max, piece_max=piece_max)

        self._people, self._named = partitions("people"), partitions("named")
        self._emails, self._left_out = partitions("emails"), partitions("left-out")
        self._events, self._actors = partitions("events"), partitions("actors")
        self._known, self._removals = partitions("known"), partitions("removals")
        self._objects, self._merges = partitions("objects"), partitions("merges")
        self._primaries, self._related = partitions("primaries"), partitions("related")
        self._found = Groups()

    def add_people(self, people: Records, named: Records, emails: Records | None) -> None:
        """Rows of profiles: the accepted ones, everybody named, the e-mail addresses of people.

        Args:
            people: By person, object or relationship.
            named: By the same, those of rejected rows included.
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
        self._actors.add(actors)

    def add_related(self, people: Records, objects: Records) -> None:
        """Rows of relationships, by their people and by their objects."""
        self._related.add(people)
        self._objects.add(objects)

    def add_merges(self, merges: Records, primaries: Records) -> None:
        """Merges.

        Args:
            merges: By the person who goes; the content is the person who stays.
            primaries: By the person who stays.
        """
        self._merges.add(merges)
        self._primaries.add(primaries)

    def add_known(self, people: Iterable[Hashes]) -> None:
        """People who were sent before, uint64 (n, 2) each: no event makes a new profile of them."""
        for some in people:
            nowhere = np.zeros(len(some), np.int64)
            self._known.add(make_records(some, nowhere, part=0, source=0, settled=nowhere > 0))

    def add_removals(self, removed: Records) -> None:
        """Rows of deletions, by person, and of relationships that are removed."""
        self._removals.add(removed)

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
            named = self._named.hashes(number)
            known = np.concatenate([named, self._known.hashes(number)])
            self._resolve_known(number, known)
            removals = self._removals.pieces(number, by_rank=True)
            in_pieces(removals, partial(self._resolve_removals, named))
            merges = self._merges.pieces(number, by_rank=True)
            in_pieces(merges, partial(self._resolve_merges, number, named))
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
        self._found.parts.update(np.unique(skipped["part"]).tolist())
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

    def _resolve_known(self, number: int, known: Hashes) -> None:
        """People and objects whom only rows name that should be about known ones."""
        found = self._found
        if self._has_customers:
            for people in (self._actors, self._related):
                actors = people.pieces(number, by_rank=False)
                in_pieces(actors, partial(self._resolve_actors, known))
            primaries = self._primaries.pieces(number, by_rank=False)
            in_pieces(primaries, partial(_count_unknown, found.lost_primaries, known))
        if self._has_objects:
            objects = self._objects.pieces(number, by_rank=False)
            in_pieces(objects, partial(_count_unknown, found.unknown_objects, known))

    def _resolve_actors(self, known: Hashes, some: Records) -> None:
        """People whom no customers row names."""
        unknown = _count_unknown(self._found.unknown_people, known, some)
        rejecting = [index for index, policy in self._unknown.items() if policy == "reject"]
        rejected = unknown[
            np.isin(unknown["source"], rejecting) & ~unknown["settled"] & (unknown["rank"] >= 0)
        ]
        self.marks.add(RowDecision.UNKNOWN_PERSON, rejected["part"], rejected["row"])
        self._found.unknown_rows.update(rejected["source"].tolist())
        self._found.parts.update(np.unique(rejected["part"]).tolist())

    def _resolve_removals(self, named: Hashes, some: Records) -> None:
        """What is taken away: once each, and nothing that another source brings."""
        gone = _once(some)
        both = gone[contained(gone["hash"], named)]
        _note(both, self._found.both, self._found.both_at)
        ordered, group = group_by_hash(some)
        again = first_in_group(group) != np.arange(len(ordered))
        self._skip(RowDecision.REPEATED_PERSON, ordered[again])

    def _resolve_merges(self, number: int, named: Hashes, some: Records) -> None:
        """People who are merged away: once each, and into people who stay.

        The order of operations in the service is not known, so that none may depend on another.
        """
        gone = _once(some)
        stays = contained(gone["hash"], self._primaries.hashes(number))
        _note(gone[stays], self._found.chained, self._found.chained_at)
        for counts, others in (
            (self._found.gone_known, named),
            (self._found.gone_named, self._actors.hashes(number)),
        ):
            counts.update(gone["source"][contained(gone["hash"], others)].tolist())
        ordered, group = group_by_hash(some)
        first, own = first_in_group(group), ordered["rank"] >= 0
        alike = (ordered["content"] == ordered["content"][first]).all(axis=1)
        _note(ordered[own & ~alike], self._found.chained, self._found.chained_at)
        again = own & alike & (first != np.arange(len(ordered)))
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


def _once(some: Records) -> Records:
    """The first record of each hash, but for what was carried on."""
    firsts = some[np.unique(some["hash"], axis=0, return_index=True)[1]]
    once: Records = firsts[firsts["rank"] >= 0]
    return once


def _count_unknown(counts: Counter[int], known: Hashes, some: Records) -> Records:
    """Count by source what nobody names, each once; give all records of it."""
    unknown: Records = some[~contained(some["hash"], known)]
    counts.update(_once(unknown)["source"].tolist())
    return unknown


def _note(some: Records, counts: Counter[int], places: dict[int, list[Place]]) -> None:
    """Count records by their source, and note where the first of them stand."""
    counts.update(some["source"].tolist())
    for source in np.unique(some["source"]).tolist():
        here = some[some["source"] == source]
        new = zip(here["part"].tolist(), here["row"].tolist(), strict=True)
        places[source] = sorted([*places.get(source, ()), *new])[:_SHOWN_MAX]


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
