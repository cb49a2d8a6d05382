"""The judge: a chunk of rows -> the accepted ones as JSON columns, and the rejections.

A whole chunk is judged with kernels; a rejection carries every reason that its row has.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import cell_json, identity
from backfill.encoding.cell_json import Cells, RowFaults, any_of, shortened
from backfill.encoding.column_names import lost_in, own_names
from backfill.encoding.json_text import (
    NULL_FRAGMENT,
    Encoded,
    Mask,
    as_mask,
    filled,
    instants,
    null_where,
    strings,
    without_blanks,
)
from backfill.instants import SERVICE_SECONDS_MAX, Reading, WrittenValues, implausible
from backfill.judge import many_attributes
from backfill.judge.many_attributes import Together
from backfill.operations.encode import (
    V1_DATA_BYTES_MAX,
    V2_BYTES_MAX,
    Accepted,
    Api,
    Member,
    Members,
    data_bytes,
    sizes,
)
from backfill.pipeline.column_settings import PREFERENCES, Column
from backfill.pipeline.source_settings import (
    EVENT_NAME_BYTES_MAX,
    AnyIdentifier,
    CustomersSource,
    EventsSource,
    ProfileSource,
    Source,
)
from backfill.rows import Chunk, Rejections
from backfill.sources.layout import (
    ATTRIBUTE_NAME_BYTES_MAX,
    ATTRIBUTES_MAX,
    NEAR_LIMIT,
    VALUE_BYTES_MAX,
    Attribute,
    AttributeNames,
    Layout,
    float_identifier,
    layout_of,
    require_columns,
)

_NEVER_CLEARED = ("unsubscribed", PREFERENCES)
"""`nulls = "clear"` leaves these out where a cell is empty; a part may follow behind a dot."""

_FRAME_BYTES_MAX = 2_750
"""More than an operation can have besides its attributes: an e-mail address of 254 bytes and an id
of 150, each byte escaped to six, and some 250 of its own."""
EVENT_TIMESTAMP = ""
"""The key of an event's own moment among a source's readings; attributes have their names."""

MANY = 64
"""From so many attributes on, and from so many for each row, they are written together. JSON needs
the most calls for each."""

MANY_PER_ROW: Mapping[str, float] = {"text": 1 / 4, "typed": 1 / 4, "json": 1 / 32}

_OF_PEOPLE = ("id", "email", "cio_id", "created_at")
"""What people are known by, and since when: a value there is more than data."""

_LAYOUTS_MAX = 1_000
_MISREAD_BY_V1 = r"(?i)^cio_|[^@\s]@[^@\s]|^\.{1,2}$"
"""v1 guesses an identifier's type "from the shape of the value": one that holds an e-mail address
is one (Track OpenAPI)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge says of a chunk; `JudgedChunk` carries the same."""

    accepted: Accepted
    rejections: Rejections
    named: pa.StringArray
    names: AttributeNames
    written: WrittenValues | None


class Judge:
    """Judges the chunks of one source; it keeps nothing of them, so that threads can share it.

    Args:
        source: The source's settings.
        api: Which API the rows are for: v1 takes fewer identifiers and larger events.
        readings: How the timestamps of each attribute are written, by attribute name; an event's
            own under `EVENT_TIMESTAMP`.
        now_s: The run's start, from which `latest = "now+1d"` counts.
    """

    def __init__(
        self, source: Source, api: Api, readings: Mapping[str, Reading], now_s: float
    ) -> None:
        self._source = source
        self._api = api
        self._readings = readings
        self._now_s = now_s
        self._layouts: dict[pa.Schema, Layout] = {}  # what it would work out again, no more

    def judge(self, chunk: Chunk, where: str = "", origin: Chunk | None = None) -> Judged:
        """Judge a chunk.

        Args:
            chunk: The rows.
            where: Their file, for errors.
            origin: The chunk as it was read, where a transform has changed it since.

        Raises:
            UsageError: The chunk's columns cannot be used with these settings.
        """
        layout = self._layout(chunk, where)
        faults = RowFaults(len(chunk.rows))
        source = self._source
        person = self._person(chunk, source.identifier, layout.identifier, faults, where)
        members, email, names = self._attributes(chunk, layout, person, faults)
        if chunk.values == "json":  # all rows of a struct have the same members
            for column, lost in lost_in(chunk):
                faults.add("member_missing", column, lost)
        name = micros = key = written = target = None
        named = person.filter(pc.not_equal(person, ""))
        if isinstance(source, EventsSource):
            name = self._name(chunk, source, faults)
            micros, written = self._micros(chunk, source, faults)
            key = self._key(chunk, source, faults)
        elif source.target is not None:
            from backfill.operations import subjects  # noqa: PLC0415 - few jobs have any

            target = self._person(chunk, source.target, layout.target, faults, where)
            named = subjects.judged(source, person, target, faults)
        every = Accepted(chunk.rows, person, members, name, micros, key, email, target=target)
        by_v1 = self._sizes(every, faults)
        every = replace(every, by_v1=by_v1 if by_v1.any() else None)
        accepted = every.take(~faults.bad())
        names = replace(names, implausible=names.implausible | self._implausible(accepted))
        found = faults.rejections(chunk.rows, origin or chunk)
        rejected = Rejections.together([Rejections.of(chunk.rejections), found])
        return Judged(accepted, rejected, named, names, written)

    def _layout(self, chunk: Chunk, where: str) -> Layout:
        schema = chunk.batch.schema
        # Hardly a chunk with cells apart has the columns of another one.
        layout = None if chunk.sparse is not None else self._layouts.get(schema)
        if layout is None:
            names = cell_json.names_of(chunk)
            # A line of JSON may lack any key: whether none has it is known at the end of the pass.
            if chunk.values != "json":
                require_columns(self._source, names, where)
            types = {each.name: each.type for each in schema if not pa.types.is_string(each.type)}
            own = [*own_names(schema), *names[len(schema) :]]
            layout = layout_of(self._source, own, types, where)
            if chunk.sparse is None and len(self._layouts) < _LAYOUTS_MAX:
                self._layouts[schema] = layout
        return layout

    def _cells(self, chunk: Chunk, column: str) -> Cells:
        return Cells.of(chunk, column, self._source.null_values)

    def _person(
        self,
        chunk: Chunk,
        identifier: AnyIdentifier,
        declared: Column | None,
        faults: RowFaults,
        where: str,
    ) -> pa.StringArray:
        """Whom each row is about, or what else it names, as n texts; empty where nothing says so.

        Args:
            chunk: The n rows.
            identifier: What names them.
            declared: The declared type of its column, where it has one.
            faults: Takes what is wrong.
            where: The file, for errors.
        """
        column, type_ = identifier.column, identifier.type
        cells = self._cells(chunk, column)
        if declared and declared.type == "integer":
            encoded = cell_json.encode(cells.column, cells.kind, declared, None, ".")
            text = pc.utf8_trim(null_where(encoded.text, self._source.null_values), '"')
            failures = encoded.failures
        else:
            text, failures = (found := cells.text()).text, found.failures
        if (no_text := identity.no_texts(cells)) is not None:
            failures = {**failures, "identifier_not_text": no_text}
            text = pc.if_else(pa.array(no_text), "", text)
        faults.add_all(failures, column)
        person = filled(identity.bare(type_, text), "")
        if type_ == "cio_id":
            person = pc.replace_substring_regex(person, "^cio_", "")
        if declared is None and type_ != "email" and identity.holds_floats(person, cells):
            # One such value tells that the program which wrote the column took ids for numbers.
            raise float_identifier(where, column)
        # A cell that failed has its own reason, and no second one for the text that it did not
        # give.
        empty = as_mask(pc.equal(person, ""))
        failed = any_of(failures.values(), len(chunk.rows))
        faults.add("identifier_missing", column, empty & ~failed)
        for code, found_at in identity.misfits(type_, person).items():
            faults.add(code, column, found_at)
        if type_ == "id" and self._api == "v1":
            misread = pc.match_substring_regex(person, _MISREAD_BY_V1)
            faults.add("identifier_shape_v1", column, misread)
        return person

    def _attributes(
        self, chunk: Chunk, layout: Layout, person: pa.StringArray, faults: RowFaults
    ) -> tuple[Members, pa.StringArray | None, AttributeNames]:
        """The attributes of each row as JSON members; its e-mail in lower case; their names."""
        members: dict[str, Member] = {}
        email = None
        noted = defaultdict[str, set[str]](set)
        self._require_absent(chunk, layout, faults)
        together = self._together(chunk, layout)
        long = together.long
        for each in layout.attributes:
            if each.column in together.done:
                faults.add_some(together.done[each.column], each.column)
                continue
            if cell_json.column_of(chunk, each.column) is None:
                self._require(each, None, chunk, faults)
                continue
            cells = self._cells(chunk, each.column)
            encoded = self._shortened(cells, self._encoded(chunk, each), each.name)
            faults.add_all(encoded.failures, each.column)
            self._require(each, encoded, chunk, faults)
            if isinstance(self._source, ProfileSource):
                if self._is_long(each, encoded, faults):
                    long.add(each.name)
                # The identifier goes out once, in its own place: here it could only contradict
                # that.
                if each.name == self._source.identifier.type:
                    differs = identity.differ(each.name, person, encoded)
                    faults.add("identifier_conflict", each.column, differs)
                    continue
                if each.name == "email" and isinstance(self._source, CustomersSource):
                    email = null_where(identity.person_key("email", encoded.text), [""])
            if len(each.name.encode()) > ATTRIBUTE_NAME_BYTES_MAX:
                says = pc.is_valid(encoded.text)
                faults.add("attribute_name_too_long", each.column, says)
            for seen in self._seen(each, encoded):
                noted[seen].add(each.name)
            members[each.name] = self._member(chunk, each, encoded)
        every = frozenset(each.name for each in layout.attributes)
        found = {seen: frozenset(some) for seen, some in noted.items()}
        columns = frozenset(cell_json.names_of(chunk))
        names = AttributeNames(
            every, frozenset(layout.reserved), frozenset(long), columns=columns, **found
        )
        return self._members(members, together, len(chunk.rows), faults), email, names

    def _together(self, chunk: Chunk, layout: Layout) -> Together:
        """What is written together, where there are many attributes: what is data and no more."""
        source = self._source
        count = len(layout.attributes)
        many = count >= MANY and count > MANY_PER_ROW[chunk.values] * len(chunk.rows)
        if not many and chunk.sparse is None:
            return Together()
        special = {*source.required}
        if isinstance(source, ProfileSource):
            if source.nulls == "clear" or source.too_long == "truncate":  # by the column's own rows
                special.update(each.name for each in layout.attributes)
            special.update(_OF_PEOPLE)
        ordinary = [
            each
            for each in layout.attributes
            if each.declared is None
            and special.isdisjoint((each.name, each.column))
            and not identity.is_state(each.name)
        ]

        def encoded(column: pa.Array) -> Encoded:
            cells = Cells.of_column(column, chunk.values, source.null_values)
            return self._shortened(
                cells, cell_json.encode(cells.column, cells.kind, None, None, ".")
            )

        limit = VALUE_BYTES_MAX if isinstance(source, ProfileSource) else None
        return many_attributes.together(chunk, ordinary, encoded, limit)

    def _encoded(self, chunk: Chunk, each: Attribute) -> Encoded:
        cells, source = self._cells(chunk, each.column), self._source
        reading = self._readings.get(each.name)
        if reading is not None and (zones := self._zones(chunk, reading)) is not None:
            return cell_json.timestamps(cells.column, cells.kind, reading, zones)
        return cell_json.encode(
            cells.column, cells.kind, each.declared, reading, source.decimal, source.thousands
        )

    def _shortened(self, cells: Cells, encoded: Encoded, name: str = "") -> Encoded:
        """An attribute without what is over its limit, where it has one and the settings say so.

        Their e-mail addresses lose the blanks around them.
        """
        source = self._source
        if not isinstance(source, ProfileSource):
            return encoded
        if name == "email" and isinstance(source, CustomersSource):
            encoded = identity.trimmed(encoded)
        if source.too_long == "reject":
            return encoded
        return shortened(encoded, VALUE_BYTES_MAX, cells if source.too_long == "truncate" else None)

    def _zones(self, chunk: Chunk, reading: Reading) -> pa.StringArray | None:
        """The zone of each row as text, null where it is empty; None where no column has them."""
        if reading.timezone_from is None:
            return None
        text = self._cells(chunk, reading.timezone_from).text().text
        return null_where(pc.utf8_trim_whitespace(text), [""])

    def _require_absent(self, chunk: Chunk, layout: Layout, faults: RowFaults) -> None:
        """A required key that no line of a JSON Lines chunk has is missing in all of them."""
        there = {*cell_json.names_of(chunk), *(each.name for each in layout.attributes)}
        for name in self._source.required:
            if name not in there:
                faults.add("required_missing", name, np.ones(len(chunk.rows), np.bool_))

    def _require(
        self, each: Attribute, encoded: Encoded | None, chunk: Chunk, faults: RowFaults
    ) -> None:
        if each.name not in self._source.required and each.column not in self._source.required:
            return
        missing = np.ones(len(chunk.rows), np.bool_)
        if encoded is not None:
            missing = as_mask(pc.is_null(encoded.text)) & ~any_of(
                encoded.failures.values(), len(missing)
            )
            if encoded.quoted:
                missing |= as_mask(pc.equal(encoded.text, ""))
        faults.add("required_missing", each.column, missing)

    def _is_long(self, each: Attribute, encoded: Encoded, faults: RowFaults) -> bool:
        """Whether any value comes near the limit of people's attributes; refuse those beyond."""
        size = encoded.size_bytes
        longest = 0 if size is None else pc.max(size).as_py() or 0
        if longest > VALUE_BYTES_MAX:
            faults.add("value_too_long", each.column, pc.greater(size, VALUE_BYTES_MAX))
        return bool(longest >= NEAR_LIMIT * VALUE_BYTES_MAX)

    def _seen(self, each: Attribute, encoded: Encoded) -> Iterator[str]:
        """What is odd about an attribute: fields of `AttributeNames`."""
        reading = self._readings.get(each.name)
        is_person = isinstance(self._source, CustomersSource)
        if reading is not None or (self._source.is_profile and each.name == "created_at"):
            yield from cell_json.odd_timestamps(encoded, reading, self._now_s)
        if is_person and each.name == "email" and identity.hold_others(encoded.text):
            yield "odd_emails"
        if is_person and identity.says_consent(each.name, encoded.text):
            yield "consent_words"

    def _member(self, chunk: Chunk, each: Attribute, encoded: Encoded) -> Member:
        """`"name":value` for each row; null where there is nothing to send."""
        opening = orjson.dumps(each.name).decode() + ":"
        clears = isinstance(self._source, ProfileSource) and self._source.nulls == "clear"
        # The API takes no null there, and consent must not vanish with an empty cell.
        if clears and each.name.partition(".")[0] not in _NEVER_CLEARED:
            text = pc.if_else(self._says_null(chunk, each), NULL_FRAGMENT, encoded.fragments())
            return Member(opening, text)
        if encoded.quoted:
            return Member(opening + '"', encoded.text, '"')
        return Member(opening, encoded.text)

    def _says_null(self, chunk: Chunk, each: Attribute) -> pa.BooleanArray:
        """Where a row says null; a key that a JSON line does not have says nothing."""
        cells = self._cells(chunk, each.column)
        if cells.kind == "json":
            return pc.fill_null(pc.equal(cells.column, NULL_FRAGMENT), False)
        is_text = each.declared is None or each.declared.type == "string"
        if cells.kind == "text" and not is_text:
            return pc.is_null(without_blanks(cells.column))
        return pc.is_null(cells.column)

    def _members(
        self, members: dict[str, Member], together: Together, count: int, faults: RowFaults
    ) -> Members:
        constants: dict[str, object] = {**self._source.constants()}
        if isinstance(self._source, ProfileSource):
            if len(members) + len(together.names) + len(constants) > ATTRIBUTES_MAX:
                present = together.present(count) + len(constants)
                for each in members.values():
                    present += as_mask(pc.is_valid(each.value))
                faults.add("too_many_attributes", "", present > ATTRIBUTES_MAX)
            if isinstance(self._source, CustomersSource) and not self._source.create:
                constants["_update"] = True
        for name, value in constants.items():
            text = pa.repeat(orjson.dumps(value).decode(), count)
            members[name] = Member(f"{orjson.dumps(name).decode()}:", text)
        if together.said:
            return Members.of_text(together.written(members, count))
        return Members(tuple(members[name] for name in sorted(members)), count)

    def _name(self, chunk: Chunk, source: EventsSource, faults: RowFaults) -> pa.StringArray:
        if isinstance(source.name, str):
            return pa.repeat(source.name.strip(), len(chunk.rows))
        column = source.name.from_
        text = self._cells(chunk, column).text()
        faults.add_all(text.failures, column)
        name = filled(pc.utf8_trim_whitespace(text.text), "")
        missing = as_mask(pc.equal(name, "")) & ~any_of(text.failures.values(), len(chunk.rows))
        faults.add("name_missing", column, missing)
        faults.add(
            "name_too_long", column, pc.greater(pc.binary_length(name), EVENT_NAME_BYTES_MAX)
        )
        return name

    def _micros(
        self, chunk: Chunk, source: EventsSource, faults: RowFaults
    ) -> tuple[pa.Int64Array, WrittenValues | None]:
        """When each event happened; and the column as it is written, but in JSON."""
        column = source.timestamp.from_
        cells = self._cells(chunk, column)
        found, reading = cells.timestamps(self._readings[EVENT_TIMESTAMP])
        written = WrittenValues(found, self._zones(chunk, reading))
        micros, failures = instants(written, reading)
        faults.add_all(failures, column)
        missing = as_mask(pc.is_null(micros)) & ~any_of(failures.values(), len(chunk.rows))
        faults.add("timestamp_missing", column, missing)
        # For a timestamp that the service does not take it takes now, and says nothing.
        earliest_s = max(source.earliest.at(self._now_s), 0)
        latest_s = min(source.latest.at(self._now_s), SERVICE_SECONDS_MAX - 1)
        faults.add("timestamp_too_early", column, pc.less(micros, earliest_s * 1_000_000))
        faults.add("timestamp_too_late", column, pc.greater(micros, latest_s * 1_000_000))
        return filled(micros, 0), written if cells.kind != "json" else None

    def _implausible(self, accepted: Accepted) -> frozenset[str]:
        """The column of the events' timestamps, where they count another unit, it seems."""
        source = self._source
        if not isinstance(source, EventsSource) or accepted.micros is None:
            return frozenset()
        is_count = self._readings[EVENT_TIMESTAMP].is_number
        found = is_count and implausible(accepted.micros.to_numpy()).any()
        return frozenset({source.timestamp.from_} if found else ())

    def _key(self, chunk: Chunk, source: EventsSource, faults: RowFaults) -> pa.StringArray | None:
        """The key of each event as a JSON array of texts."""
        if not source.key:
            return None
        texts = []
        missing = np.ones(len(chunk.rows), np.bool_)
        for column in source.key:
            text = self._key_text(chunk, column)
            # Missing only where all of its columns are: a part of a key may well be empty.
            missing &= as_mask(pc.is_null(text)) | as_mask(pc.equal(text, ""))
            texts.append(pc.fill_null(strings(text).fragments(), NULL_FRAGMENT))
        faults.add("key_missing", source.key[0], missing)
        return pc.binary_join_element_wise("[", pc.binary_join_element_wise(*texts, ","), "]", "")

    def _key_text(self, chunk: Chunk, column: str) -> pa.StringArray:
        """One column of the key; where it is declared, as what it is: `007` is the integer 7."""
        for name, declared in self._source.declared().items():
            if declared.from_ == column and declared.type != "string":
                encoded = self._encoded(chunk, Attribute(name, column, declared))
                return pc.utf8_trim(encoded.text, '"')
        return self._cells(chunk, column).text().text

    def _sizes(self, accepted: Accepted, faults: RowFaults) -> Mask:
        """Refuse what the API is too small for; say which events only v1 takes."""
        all_bytes = data_bytes(self._source, accepted)
        by_v1 = np.zeros(len(accepted), np.bool_)
        is_event = isinstance(self._source, EventsSource)
        if self._api == "v1":
            faults.add("too_large", "", all_bytes > V1_DATA_BYTES_MAX)
            return by_v1
        largest = int(all_bytes.max(initial=0))
        # Two numbers instead of a column: hardly any chunk has a row that comes near the limit.
        if largest + _FRAME_BYTES_MAX <= V2_BYTES_MAX:
            return by_v1
        large = sizes(self._source, self._api, accepted) > V2_BYTES_MAX
        if not is_event:
            faults.add("too_large", "", large)
            return by_v1
        faults.add("too_large", "", large & (all_bytes > V1_DATA_BYTES_MAX))
        by_v1 = large & (all_bytes <= V1_DATA_BYTES_MAX)
        if by_v1.any() and self._source.identifier.type == "id":
            column = self._source.identifier.column
            misread = as_mask(pc.match_substring_regex(accepted.person, _MISREAD_BY_V1))
            faults.add("identifier_shape_v1", column, by_v1 & misread)
        return by_v1
