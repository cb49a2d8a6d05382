"""Accepted rows -> operations as bytes, for v2 and for v1; still a column at a time.

The same row always gives the same bytes: keys are sorted and every value has one form.

v2 (Track OpenAPI, `/api/v2/batch`), the parts that change in angle brackets:

    {"action":"event","attributes":{<…>},"id":"<ulid>","identifiers":{"id":"<person>"},
     "name":"<name>","timestamp":<unix seconds>,"type":"person"}

v1 (`PUT /api/v1/customers/{identifier}`, `POST …/events`, `DELETE`): one request for each row,
with the person in the path.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import identity
from backfill.encoding.json_text import escaped
from backfill.encoding.members import Members, Parts, join
from backfill.instants import seconds
from backfill.pipeline.source_settings import CustomersSource, EventsSource, Source
from backfill.rows import Chunk, Rows

V2_BYTES_MAX = 32_000
"""A v2 operation may have 32 kb; kb read as 1000 (Track OpenAPI)."""

V1_DATA_BYTES_MAX = 100_000
"""The data of a v1 event may have 100 000 bytes (Track OpenAPI)."""

Api = Literal["v1", "v2"]


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whom the accepted rows of one source are about, and what they say; equal lengths.

    Args:
        rows: The row numbers.
        person: The identifiers, as text.
        members: Their attributes as JSON members.
        name: The events' names; None where the rows are no events.
        micros: When the events happened, in unix microseconds.
        key: What makes each event itself, as JSON; None: all that it says.
    """

    rows: Rows
    person: pa.StringArray
    members: Members
    name: pa.StringArray | None = None
    micros: pa.Int64Array | None = None
    key: pa.StringArray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def attributes(self) -> pa.StringArray:
        """The attributes as text, without braces: `"a":1,"b":"x"`."""
        return self.members.text

    def take(self, places: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Subjects":
        """Those at `places`, or where the mask is true."""
        if places.dtype == np.bool_:
            if places.all():
                return self
            places = np.flatnonzero(places)
        at = pa.array(places)
        name, micros, key = (
            None if column is None else column.take(at)
            for column in (self.name, self.micros, self.key)
        )
        person, members = self.person.take(at), self.members.take(at)
        return Subjects(self.rows[places], person, members, name, micros, key)


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


_Made: TypeAlias = "pa.StringArray | None"
"""A column that is made beside the subjects; None where the rows are no events."""


def encode(source: Source, api: Api, subjects: Subjects, ids: pa.StringArray | None) -> Operations:
    """The operations of a source's accepted rows.

    Args:
        source: What the rows are.
        api: Which API they are for.
        subjects: The accepted rows.
        ids: The events' ids; None where the rows are no events.
    """
    moments = None if subjects.micros is None else _seconds_text(subjects.micros)
    if api == "v1":
        return _for_v1(source, subjects, ids, moments)
    return Operations(subjects.rows, join(_v2_parts(source, subjects, ids, moments)))


def _v2_parts(source: Source, subjects: Subjects, ids: _Made, moments: _Made) -> Parts:
    person = [f'"identifiers":{{"{source.identifier.type}":"', escaped(subjects.person), '"}']
    if isinstance(source, CustomersSource):
        opening = '{"action":"identify","attributes":{'
        return [opening, *subjects.members.parts, "},", *person, ',"type":"person"},']
    if isinstance(source, EventsSource):
        return [
            f'{{"action":"{source.type}","attributes":{{',
            *subjects.members.parts,
            '},"id":"',
            _required(ids),
            '",',
            *person,
            ',"name":"',
            escaped(_required(subjects.name)),
            '","timestamp":',
            _required(moments),
            ',"type":"person"},',
        ]
    return [f'{{"action":"{source.action}",', *person, ',"type":"person"},']


def _for_v1(source: Source, subjects: Subjects, ids: _Made, moments: _Made) -> Operations:
    paths = _paths(source.identifier.type, subjects.person)
    bodies = join(_v1_parts(source, subjects, ids, moments))
    if isinstance(source, CustomersSource):
        return Operations(subjects.rows, bodies, paths, "PUT")
    if isinstance(source, EventsSource):
        return Operations(subjects.rows, bodies, join([paths, "/events"]), "POST")
    if source.action == "suppress":
        return Operations(subjects.rows, bodies, join([paths, "/suppress"]), "POST")
    return Operations(subjects.rows, bodies, paths, "DELETE")


def _v1_parts(source: Source, subjects: Subjects, ids: _Made, moments: _Made) -> Parts:
    if isinstance(source, CustomersSource):
        return ["{", *subjects.members.parts, "},"]
    if isinstance(source, EventsSource):
        return [
            '{"data":{',
            *subjects.members.parts,
            '},"id":"',
            _required(ids),
            '","name":"',
            escaped(_required(subjects.name)),
            '","timestamp":',
            _required(moments),
            f',"type":"{source.type}"}},',
        ]
    return [pa.repeat(",", len(subjects))]


def _paths(identifier_type: str, person: pa.StringArray) -> pa.StringArray:
    prefix = "cio_" if identifier_type == "cio_id" else ""
    encoded = person.dictionary_encode()
    paths = [
        f"/api/v1/customers/{prefix}{identity.in_path(each)}"
        for each in encoded.dictionary.to_pylist()
    ]
    return pa.array(paths, pa.string()).take(encoded.indices)


def event_ids(
    source: EventsSource,
    namespace: str,
    subjects: Subjects,
    occurrences: npt.NDArray[np.int64] | None = None,
) -> pa.StringArray:
    """The events' ids.

    Args:
        source: The events' settings.
        namespace: The pipeline's namespace.
        subjects: The accepted rows.
        occurrences: For each, how many identical ones come before it; None: no row repeats.
    """
    contents = event_contents(source, namespace, subjects)
    if occurrences is not None:
        for place in np.flatnonzero(occurrences):
            contents[place] = identity.with_occurrence(contents[place], int(occurrences[place]))
    milliseconds = np.floor_divide(_required(subjects.micros).to_numpy(), 1000)
    return identity.ulids(milliseconds, identity.entropy(contents))


def event_contents(source: EventsSource, namespace: str, subjects: Subjects) -> list[bytes]:
    """What makes each event itself, as bytes: equal for the same event, however it was read.

    JSON arrays, so that no two different events can be written alike.
    """
    person = escaped(identity.person_key(source.identifier.type, subjects.person))
    head = orjson.dumps([namespace, source.identifier.type, source.type])[:-1].decode()
    parts: Parts = [
        f'{head},"',
        person,
        '","',
        escaped(_required(subjects.name)),
        '",',
        pc.cast(_required(subjects.micros), pa.string()),
    ]
    if subjects.key is not None:
        parts += [',"key",', subjects.key, "]"]
    else:
        parts += [",{", subjects.attributes, "}]"]
    return cast("list[bytes]", pc.cast(join(parts), pa.binary()).to_pylist())


def event_keys(source: EventsSource, namespace: str, subjects: Subjects) -> list[bytes]:
    """What two events must share to be repeats of one another: person, name and key."""
    head = orjson.dumps([namespace, source.identifier.type, source.type])[:-1].decode()
    person = escaped(identity.person_key(source.identifier.type, subjects.person))
    parts: Parts = [f'{head},"', person, '","', escaped(_required(subjects.name)), '",']
    joined = join([*parts, _required(subjects.key), "]"])
    return cast("list[bytes]", pc.cast(joined, pa.binary()).to_pylist())


def sizes(source: Source, api: Api, subjects: Subjects) -> npt.NDArray[np.int64]:
    """The bytes that the operation of each row will have; an id counts before it is made.

    They are added up; no operation is written.
    """
    if not len(subjects):
        return np.empty(0, np.int64)
    lengths = subjects.members.lengths - len(",")
    if subjects.micros is not None:
        lengths = lengths + identity.ULID_LENGTH + _seconds_lengths(subjects.micros)
    unwritten = pa.repeat("", len(subjects))
    bare = replace(subjects, members=Members.of_text(unwritten))
    for part in (_v1_parts if api == "v1" else _v2_parts)(source, bare, unwritten, unwritten):
        lengths += len(part) if isinstance(part, str) else pc.binary_length(part).to_numpy()
    return lengths


def too_large(source: Source, api: Api, subjects: Subjects) -> npt.NDArray[np.bool_]:
    """Which rows make operations that this API does not take."""
    if api == "v1":
        data_bytes = subjects.members.lengths + len("{}")
        return data_bytes > V1_DATA_BYTES_MAX
    return sizes(source, api, subjects) > V2_BYTES_MAX


def _seconds_text(micros: pa.Int64Array) -> pa.StringArray:
    return pc.cast(seconds(micros), pa.string())


def _seconds_lengths(micros: pa.Int64Array) -> npt.NDArray[np.int64]:
    """How many digits each moment will have in seconds; those of one time have as many."""
    ends = pc.min_max(micros)
    first, last = (len(str(ends[end].as_py() // 1_000_000)) for end in ("min", "max"))
    if first == last and ends["min"].as_py() >= 0:
        return np.full(len(micros), first)
    lengths: Rows = pc.binary_length(_seconds_text(micros)).to_numpy().astype(np.int64)
    return lengths


def _required(column: pa.Array | None) -> pa.Array:
    if column is None:
        raise ValueError("these rows are no events")
    return column
