"""Accepted rows -> operations as bytes, for v2 and for v1; still a column at a time.

The same row always gives the same bytes: keys are sorted and every value has one form.

v2 (Track OpenAPI, `/api/v2/batch`), the parts that change in angle brackets:

    {"action":"event","attributes":{<…>},"id":"<ulid>","identifiers":{"id":"<person>"},
     "name":"<name>","timestamp":<unix seconds>,"type":"person"}

v1 (`PUT /api/v1/customers/{identifier}`, `POST …/events`, `DELETE`): one request for each row,
with the person in the path.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from backfill.encoding import identity
from backfill.encoding.json_text import Mask, Parts, as_mask, escaped, filled, join
from backfill.instants import seconds
from backfill.pipeline.source_settings import CustomersSource, EventsSource, Source
from backfill.rows import Chunk, Rows

V2_BYTES_MAX = 32_000
"""A v2 operation may have 32 kb; kb read as 1000 (Track OpenAPI)."""

V1_DATA_BYTES_MAX = 100_000
"""The data of a v1 event may have 100 000 bytes (Track OpenAPI)."""

RECENT_S = 72 * 3600
"""An event dated within the last 72 hours can trigger campaigns (Track OpenAPI)."""

Api = Literal["v1", "v2"]

_Made: TypeAlias = "pa.StringArray | None"
"""A column that is made beside the accepted; None where the rows are no events."""


@dataclass(frozen=True, slots=True)
class Member:
    """One attribute of each row as JSON; nothing where its value is null."""

    opening: str
    value: pa.StringArray
    closing: str = ""

    @property
    def is_there(self) -> npt.NDArray[np.uint8]:
        """1 for each row that has it, 0 for the others."""
        return as_mask(self.value.is_valid()).view(np.uint8)


@dataclass(frozen=True)
class Members:
    """The attributes of some rows: how many bytes they are, and, once that is asked for, the text.

    Args:
        columns: One member for each attribute, in the order in which they are written.
        count: How many rows there are.
    """

    columns: tuple[Member, ...]
    count: int

    @classmethod
    def of_text(cls, text: pa.StringArray) -> "Members":
        """What was put together before; nowhere null."""
        return cls((Member("", text),), len(text))

    @cached_property
    def text(self) -> pa.StringArray:
        """Each row's members behind one another: `"a":1,"b":"x"`."""
        return join(self.parts)

    @property
    def parts(self) -> Parts:
        """What the text is put together from; the text itself, once it was asked for.

        What stands between two values is one of a few texts: it depends on which of the two are
        there, and on whether any member came before.
        """
        if "text" in self.__dict__:
            return [self.text]
        if not self.columns:
            return [pa.repeat("", self.count)]
        here = any_before = np.zeros(self.count, np.uint8)
        parts: Parts = []
        closing = ""
        for each in self.columns:
            there = each.is_there
            openings = ("", each.opening, f",{each.opening}")
            between = [end + opening for end in ("", closing) for opening in openings]
            # What stands between two values depends on whether the one before and any earlier one
            # are there: six texts, chosen by number, so that each row is joined once.
            parts += [_chosen(between, 3 * here + there * (1 + any_before)), each.value]
            here, any_before, closing = there, any_before | there, each.closing
        return [*parts, _chosen(["", closing], here)]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The bytes of each row's text; nothing is written for that."""
        lengths, present = np.zeros((2, self.count), np.int64)
        for each in self.columns:
            around = len(each.opening.encode()) + len(each.closing)
            says = pc.add(pc.binary_length(each.value), around)
            lengths += filled(says, 0).to_numpy()
            present += each.is_there
        # A comma between members: one less than there are, and none for a row without any.
        return lengths + np.maximum(present - len(","), 0)

    def take(self, at: pa.Array) -> "Members":
        """The members of the rows at these places."""
        if "text" in self.__dict__:
            return Members.of_text(self.text.take(at))
        columns = tuple(replace(each, value=each.value.take(at)) for each in self.columns)
        members = Members(columns, len(at))
        if "lengths" in self.__dict__:  # they cost as much as the rows: a kernel for each member
            members.__dict__["lengths"] = self.lengths[at.to_numpy()]
        return members


def _chosen(texts: list[str], places: npt.NDArray[np.uint8]) -> str | pa.StringArray:
    """For each row the text at its place: that text itself where all rows have the same."""
    if len(places) and (places == places[0]).all():
        return texts[places[0]]
    return pa.array(texts).take(pa.array(places))


@dataclass(frozen=True, slots=True)
class Accepted:
    """The accepted rows of a chunk: who each is about, what it says, what was decided about it.

    One table of n rows, ascending. Every column has length n and is filtered by `take` alone, so
    that no row can get another one's id.

    Args:
        rows: int64, the row numbers.
        person: string, the identifiers; never empty.
        members: The attributes as JSON members.
        name: string, the events' names; None where the rows are no events.
        micros: int64, when the events happened, in unix microseconds; None as above.
        key: string, what makes each event itself, as JSON; None: all that it says.
        email: string, the e-mail attribute in lower case, null where a row has none; None where
            no row has one.
        by_v1: bool, the events that are too large for v2; None: no row is.
        decided: What the plan pass decided of each (`planning.row_decisions`); None: nothing.
        target: string, what else each row names; None: nothing.
    """

    rows: Rows
    person: pa.StringArray
    members: Members
    name: pa.StringArray | None = None
    micros: pa.Int64Array | None = None
    key: pa.StringArray | None = None
    email: pa.StringArray | None = None
    by_v1: Mask | None = None
    decided: npt.NDArray[Any] | None = None
    target: pa.StringArray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def attributes(self) -> pa.StringArray:
        """The attributes as text, without braces: `"a":1,"b":"x"`."""
        return self.members.text

    def take(self, places: npt.NDArray[np.int64] | Mask) -> "Accepted":
        """Those at `places` (int64, in their order), or where the mask (bool, length n) is true.

        Where the mask leaves nothing out, this table itself.
        """
        if places.dtype == np.bool_:
            # Most chunks keep all rows: then nothing is copied.
            if places.all():
                return self
            places = np.flatnonzero(places)
        at = pa.array(places)
        name, micros, key, email, target = (
            None if column is None else column.take(at)
            for column in (self.name, self.micros, self.key, self.email, self.target)
        )
        by_v1, decided = (
            None if column is None else column[places] for column in (self.by_v1, self.decided)
        )
        person, members = self.person.take(at), self.members.take(at)
        return Accepted(
            self.rows[places], person, members, name, micros, key, email, by_v1, decided, target
        )

    def recent(self, now_s: float) -> Mask:
        """Which events can trigger campaigns (bool, length n); those of the future can, too."""
        if self.micros is None:
            return np.zeros(len(self), np.bool_)
        young: Mask = self.micros.to_numpy() >= recent_since_us(now_s)
        return young

    def digest(self) -> str:
        """What the rows say, as a short text: the same for the same rows, whoever read them."""
        digest = xxhash.xxh3_128(self.rows.tobytes())
        for column in (self.person, self.attributes, self.name, self.target):
            if column is not None:  # its buffers may hold anything behind the last row
                # Lengths as well: "ab","c" and "a","bc" are the same bytes.
                digest.update(pc.binary_length(column).to_numpy().tobytes())
                digest.update(b"".join(column.cast(pa.binary()).to_pylist()))
        if self.micros is not None:
            digest.update(self.micros.to_numpy().tobytes())
        return digest.hexdigest()


def recent_since_us(now_s: float) -> int:
    """From which unix microsecond on an event is recent: one of 72 hours sharp still is."""
    return ceil((now_s - RECENT_S) * 1_000_000)


@dataclass(frozen=True, slots=True)
class Operations:
    """Changes that were not sent yet, as JSON, each followed by a comma.

    Args:
        rows: The row that each came from.
        column: The JSON of each, with a comma behind it: neighbours are a batch's body as they
            stand.
        paths: Where each is sent by itself (v1), percent-encoded; None: they travel in batches.
        method: The HTTP method of those that are sent by themselves.
        part: The part that the rows belong to.
        origin: The chunk that they were read in, for the report of what is refused.
    """

    rows: Rows
    column: pa.StringArray
    paths: pa.StringArray | None = None
    method: str = "POST"
    part: int = 0
    origin: Chunk | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def _offsets(self) -> npt.NDArray[np.int32]:
        """Where each begins in the column's bytes, and where the last one ends; not a copy."""
        # Arrow gives an empty column no offsets.
        buffer = self.column.buffers()[1] or bytes(4)
        return np.frombuffer(buffer, np.int32)[self.column.offset :][: len(self.column) + 1]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The bytes of each, without the comma."""
        return np.diff(self._offsets).astype(np.int64) - 1

    def json(self, start: int, stop: int) -> memoryview:
        """The bytes of those from `start` up to, not including, `stop`; commas between them."""
        offsets = self._offsets
        data = memoryview(self.column.buffers()[2])
        return data[int(offsets[start]) : int(offsets[stop]) - 1]


def encode(source: Source, api: Api, accepted: Accepted, ids: pa.StringArray | None) -> Operations:
    """The operations of a source's accepted rows.

    Args:
        source: What the rows are.
        api: Which API they are for.
        accepted: The accepted rows.
        ids: The events' ids; None where the rows are no events.
    """
    timestamps = None if accepted.micros is None else _seconds_text(accepted.micros)
    if api == "v1":
        return _for_v1(source, accepted, ids, timestamps)
    return Operations(accepted.rows, join(_v2_parts(source, accepted, ids, timestamps)))


def operations_of(
    source: Source,
    api: Api,
    accepted: Accepted,
    ids: pa.StringArray | None,
    *,
    part: int,
    origin: Chunk,
) -> tuple[Operations, ...]:
    """The operations of a chunk: those for `api`, then those that only v1 takes.

    Args:
        source: What the rows are.
        api: The pipeline's API.
        accepted: The accepted rows, n.
        ids: string, length n, the events' ids; None where the rows are no events.
        part: The part that they are of.
        origin: The chunk that they were read in.
    """
    by_v1 = np.zeros(len(accepted), np.bool_) if accepted.by_v1 is None else accepted.by_v1
    made = []
    for chosen, where in ((api, ~by_v1), ("v1", by_v1)):
        some = accepted.take(where)
        if len(some):
            some_ids = None if ids is None else ids.filter(pa.array(where))
            operations = encode(source, chosen, some, some_ids)
            made.append(replace(operations, part=part, origin=origin))
    return tuple(made)


def _v2_parts(source: Source, accepted: Accepted, ids: _Made, timestamps: _Made) -> Parts:
    person = [f'"identifiers":{{"{source.identifier.type}":"', escaped(accepted.person), '"}']
    if isinstance(source, CustomersSource):
        opening = '{"action":"identify","attributes":{'
        return [opening, *accepted.members.parts, "},", *person, ',"type":"person"},']
    if isinstance(source, EventsSource):
        return [
            f'{{"action":"{source.type}","attributes":{{',
            *_marked(source, accepted),
            '},"id":"',
            _required(ids),
            '",',
            *person,
            ',"name":"',
            escaped(_required(accepted.name)),
            '","timestamp":',
            _required(timestamps),
            ',"type":"person"},',
        ]
    if source.kind == "deletions":
        return [f'{{"action":"{source.action}",', *person, ',"type":"person"},']
    from backfill.operations.subjects import v2_parts  # noqa: PLC0415 - few jobs have any

    return v2_parts(source, accepted)


def _marked(source: EventsSource, accepted: Accepted) -> Parts:
    """What each event says, and behind it the mark of its import, which is in no id."""
    if not source.mark:
        return accepted.members.parts
    says = accepted.members.lengths > 0
    comma = "," if says.all() else _chosen(["", ","], says.view(np.uint8))
    return [*accepted.members.parts, comma, _mark_text(source)]


def _mark_text(source: EventsSource) -> str:
    return orjson.dumps(source.mark)[1:-1].decode() if source.mark else ""


def data_bytes(source: Source, accepted: Accepted) -> npt.NDArray[np.int64]:
    """The bytes of what each of n rows says, as a JSON object, int64 (n,)."""
    lengths: Rows = accepted.members.lengths + len("{}")
    if isinstance(source, EventsSource) and source.mark:
        lengths = lengths + len(_mark_text(source).encode()) + (accepted.members.lengths > 0)
    return lengths


def _for_v1(source: Source, accepted: Accepted, ids: _Made, timestamps: _Made) -> Operations:
    paths = _paths(source.identifier.type, accepted.person)
    bodies = join(_v1_parts(source, accepted, ids, timestamps))
    if isinstance(source, CustomersSource):
        return Operations(accepted.rows, bodies, paths, "PUT")
    if isinstance(source, EventsSource):
        return Operations(accepted.rows, bodies, join([paths, "/events"]), "POST")
    if source.kind == "deletions" and source.action == "suppress":
        return Operations(accepted.rows, bodies, join([paths, "/suppress"]), "POST")
    return Operations(accepted.rows, bodies, paths, "DELETE")


def _v1_parts(source: Source, accepted: Accepted, ids: _Made, timestamps: _Made) -> Parts:
    if isinstance(source, CustomersSource):
        return ["{", *accepted.members.parts, "},"]
    if isinstance(source, EventsSource):
        return [
            '{"data":{',
            *_marked(source, accepted),
            '},"id":"',
            _required(ids),
            '","name":"',
            escaped(_required(accepted.name)),
            '","timestamp":',
            _required(timestamps),
            f',"type":"{source.type}"}},',
        ]
    return [pa.repeat(",", len(accepted))]


def _paths(identifier_type: str, person: pa.StringArray) -> pa.StringArray:
    prefix = "cio_" if identifier_type == "cio_id" else ""
    # Percent-encoding is Python's, so it is done once for each person, not for each row.
    encoded = person.dictionary_encode()
    paths = [
        f"/api/v1/customers/{prefix}{identity.in_path(each)}"
        for each in encoded.dictionary.to_pylist()
    ]
    return pa.array(paths, pa.string()).take(encoded.indices)


def event_ids(
    source: EventsSource,
    namespace: str,
    accepted: Accepted,
    occurrences: npt.NDArray[np.int64] | None = None,
) -> pa.StringArray:
    """The events' ids.

    Args:
        source: The events' settings.
        namespace: The pipeline's namespace.
        accepted: The accepted rows.
        occurrences: For each, how many identical ones come before it; None: no row repeats.
    """
    contents = event_contents(source, namespace, accepted)
    if occurrences is not None:
        # Few rows repeat; the first of identical ones keeps the id that it has alone.
        for place in np.flatnonzero(occurrences):
            contents[place] = identity.with_occurrence(contents[place], int(occurrences[place]))
    milliseconds = np.floor_divide(_required(accepted.micros).to_numpy(), 1000)
    return identity.ulids(milliseconds, identity.entropy(contents))


def event_contents(source: EventsSource, namespace: str, accepted: Accepted) -> list[bytes]:
    """What makes each event itself, as bytes: equal for the same event, however it was read.

    JSON arrays, so that no two different events can be written alike.
    """
    person = escaped(identity.person_key(source.identifier.type, accepted.person))
    head = orjson.dumps([namespace, source.identifier.type, source.type])[:-1].decode()
    parts: Parts = [
        f'{head},"',
        person,
        '","',
        escaped(_required(accepted.name)),
        '",',
        pc.cast(_required(accepted.micros), pa.string()),
    ]
    if accepted.key is not None:
        parts += [',"key",', accepted.key, "]"]
    else:
        parts += [",{", accepted.attributes, "}]"]
    return cast("list[bytes]", pc.cast(join(parts), pa.binary()).to_pylist())


def event_keys(source: EventsSource, namespace: str, accepted: Accepted) -> list[bytes]:
    """What two events must share to be repeats of one another: person, name and key."""
    head = orjson.dumps([namespace, source.identifier.type, source.type])[:-1].decode()
    person = escaped(identity.person_key(source.identifier.type, accepted.person))
    parts: Parts = [f'{head},"', person, '","', escaped(_required(accepted.name)), '",']
    joined = join([*parts, _required(accepted.key), "]"])
    return cast("list[bytes]", pc.cast(joined, pa.binary()).to_pylist())


def sizes(source: Source, api: Api, accepted: Accepted) -> npt.NDArray[np.int64]:
    """The bytes that the operation of each row will have; an id counts before it is made.

    They are added up; no operation is written.
    """
    if not len(accepted):
        return np.empty(0, np.int64)
    lengths = accepted.members.lengths - len(",")
    if accepted.micros is not None:
        lengths = lengths + identity.ULID_LENGTH + _seconds_lengths(accepted.micros)
    unwritten = pa.repeat("", len(accepted))
    bare = replace(accepted, members=Members.of_text(unwritten))
    if isinstance(source, EventsSource) and source.mark:
        lengths = lengths + (accepted.members.lengths > 0)  # the comma before the mark
    for part in (_v1_parts if api == "v1" else _v2_parts)(source, bare, unwritten, unwritten):
        lengths += len(part) if isinstance(part, str) else pc.binary_length(part).to_numpy()
    return lengths


def too_large(source: Source, api: Api, accepted: Accepted) -> npt.NDArray[np.bool_]:
    """Which rows make operations that this API does not take."""
    if api == "v1":
        return data_bytes(source, accepted) > V1_DATA_BYTES_MAX
    return sizes(source, api, accepted) > V2_BYTES_MAX


def _seconds_text(micros: pa.Int64Array) -> pa.StringArray:
    return pc.cast(seconds(micros), pa.string())


def _seconds_lengths(micros: pa.Int64Array) -> npt.NDArray[np.int64]:
    """How many digits each moment will have in seconds; those of one time have as many."""
    ends = pc.min_max(micros)
    first, last = (len(str(ends[end].as_py() // 1_000_000)) for end in ("min", "max"))
    # Ten digits since 2001: nearly every chunk is done with two numbers.
    if first == last and ends["min"].as_py() >= 0:
        return np.full(len(micros), first)
    lengths: Rows = pc.binary_length(_seconds_text(micros)).to_numpy().astype(np.int64)
    return lengths


def _required(column: pa.Array | None) -> pa.Array:
    if column is None:
        raise ValueError("these rows are no events")
    return column
