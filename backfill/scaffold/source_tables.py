"""One `[[source]]` table: what a file was seen to hold, setting by setting."""

import pyarrow as pa

from backfill.pipeline.columns import IdentifierType
from backfill.pipeline.source_settings import (
    EVENT_NAME_BYTES_MAX,
    CustomersSource,
    DeletionsSource,
    EventsSource,
    SourceSettings,
)
from backfill.report.wording import counted
from backfill.scaffold import attributes
from backfill.scaffold.column_profile import SURELY_NULL, ColumnProfile
from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.kinds import (
    Kind,
    identifiers_of,
    keys_of,
    name_column_of,
    occurrences_of,
)
from backfill.scaffold.pipeline_text import Proposal, Setting
from backfill.scaffold.questions import Ask, Question, zone
from backfill.scaffold.remarks import remarks_on
from backfill.scaffold.setting_docs import ABOUT

TODO = "TODO"
"""Stands where nothing proves a value; `check` refuses it by name."""

MODELS: dict[str, type[SourceSettings]] = {
    "customers": CustomersSource,
    "events": EventsSource,
    "deletions": DeletionsSource,
}
"""The kinds, in the order in which they are sent."""
_SPELLED: dict[str, object] = {"earliest": "1990-01-01", "latest": "now+1d", "deletes_max": 100}
"""Defaults that the pipeline file spells in another way than the settings hold them."""

_GUARDS = (
    "required",
    "other_columns",
    "reserved",
    "nulls",
    "create",
    "shared_emails",
    "action",
    "identical_rows",
    "repeated_keys",
    "recent_events",
    "unknown_people",
    "earliest",
    "latest",
    "deletes_max",
)
"""Written out with their defaults: nobody should have to look up what can be answered."""


class Writer:
    """Writes the settings of one source."""

    def __init__(
        self, look: FileProfile, kind: Kind, timezone: str | None, ask: Ask, *, has_customers: bool
    ) -> None:
        self._look = look
        self._kind = kind
        self._timezone = timezone
        self._ask = ask
        self._has_customers = has_customers
        self._used: list[ColumnProfile] = []
        self._nulls: list[str] = []
        self._key_name = ""
        self._made = Proposal(kind.kind, look.files, [f"{kind.kind}: {kind.why}"])

    def proposal(self, type_: IdentifierType | None, person: ColumnProfile | None) -> Proposal:
        """The whole table.

        Args:
            type_: The identifier's type.
            person: The column that says who a row is about; None: nothing says so.
        """
        self._files()
        self._identifier(type_, person)
        if self._kind.kind == "events":
            self._event()
        self._guards()
        if self._kind.kind != "deletions":
            self._columns()
        self._made.remarks += remarks_on(self._look, self._kind.kind, self._used)
        return self._made

    def _set(self, key: str, value: object, note: str = "", *, on: bool = True) -> None:
        self._made.settings.append(Setting(key, value, note or ABOUT[key], on))  # type: ignore[arg-type]

    def _files(self) -> None:
        look = self._look
        self._set("kind", self._kind.kind)
        self._set("files", look.files, counted(look.rows, "row"))
        if look.delimiter is not None:
            self._set("delimiter", look.delimiter.value, look.delimiter.why)
        if look.encoding is not None:
            self._set("encoding", look.encoding.value, look.encoding.why)
        if look.format == "csv" and self._kind.kind != "deletions":
            decimal, why = attributes.decimal_mark(look)
            self._set("decimal", decimal, why)
        self._null_values()

    def _null_values(self) -> None:
        counts = attributes.like_null(self._look)
        sure = [each for each in counts if each == SURELY_NULL]
        doubtful = [each for each in counts if each != SURELY_NULL]
        shown = ", ".join(f'"{each}" {counts[each]:,} times' for each in counts)
        if doubtful:
            question = f"{self._look.files[0]}: {shown}: do they mean null?"
            if self._ask(Question(question, "yes", ("yes", "no"))) == "yes":
                sure, doubtful = list(counts), []
        self._nulls = sure
        self._set("null_values", sure, shown if sure else "")
        if doubtful:
            self._set("null_values", sure + doubtful, f"if these mean null: {shown}", on=False)

    def _identifier(self, type_: IdentifierType | None, person: ColumnProfile | None) -> None:
        if type_ is None or person is None:
            self._unknown_person()
            return
        self._used.append(person)
        note = person.distinct.shown("person", "people")
        if type_ != next(iter(identifiers_of(self._look, self._kind.kind))):
            note += f"; by {type_}, since the other files have no other identifier"
        empty = self._look.rows - self._look.rows_malformed - person.values
        if empty > 0:
            note += f"; without one, and rejected: {counted(empty, 'row')}"
        self._set("identifier", {type_: person.name}, note)
        if person.type is not None and pa.types.is_floating(person.type):
            self._made.columns.append(
                Setting(person.name, "integer", "the file holds it as a floating-point number")
            )

    def _unknown_person(self) -> None:
        columns = tuple(self._look.columns)
        answer = self._ask(
            Question(f"{self._look.files[0]}: which column identifies the person?", "", columns)
        )
        if answer:
            person = self._look.columns[answer]
            self._used.append(person)
            self._set("identifier", {"email" if person.emails else "id": answer}, "your answer")
            return
        self._made.open.append("identifier")
        self._set(
            "identifier",
            {},
            f'no column identifies the person; {{ id = "…" }} names one of {", ".join(columns)}',
        )

    def _event(self) -> None:
        self._set("type", "event", ABOUT["EventsSource.type"])
        self._name()
        self._timestamp()
        self._key()

    def _name(self) -> None:
        column = name_column_of(self._look)
        if column is not None:
            self._used.append(column)
            shown = ", ".join(column.examples)
            too_long = column.bytes_max > EVENT_NAME_BYTES_MAX
            limit = "; some are longer than 100 bytes: these are rejected" if too_long else ""
            note = f"{column.distinct.shown('name', 'names')}: {shown}{limit}"
            self._set("name", {"from": column.name}, note)
            return
        name = self._look.name
        answer = self._ask(
            Question(f"{self._look.files[0]}: what is the name of these events?", name)
        )
        self._set("name", answer or name, "your answer" if answer else "the file's name; change it")

    def _timestamp(self) -> None:
        columns = occurrences_of(self._look)
        if not columns:
            self._made.open.append("timestamp")
            self._set("timestamp", {}, 'no column holds timestamps; { from = "…" } names one')
            return
        self._used.append(columns[0])
        written = self._written(columns[0], "timestamp", is_day=False)
        self._set("timestamp", {"from": columns[0].name, **written.value}, written.note)

    def _written(
        self, column: ColumnProfile, key: str, *, is_day: bool
    ) -> attributes.DeclaredAttribute:
        """How the timestamps of a column are written; a day needs no zone."""
        timestamps = column.timestamps()
        if timestamps is None:
            raise ValueError(f"{column.name} holds no timestamps")
        file = self._look.files[0]
        written = attributes.written(file, column.name, timestamps, self._ask)
        if timestamps.has_zone or is_day:
            return written
        if self._timezone is None:
            question = f"{file}: {column.name} has no time zone: which one? (an IANA name)"
            self._timezone = self._ask(Question(question, "UTC", check=zone))
        written.value["timezone"] = self._timezone or TODO
        if self._timezone is None:
            written.note += "; nothing proves the time zone: set it, for example Europe/Berlin"
            self._made.open.append(f"{key}.timezone")
        return written

    def _key(self) -> None:
        found = [each for each in keys_of(self._look) if each not in self._used]
        if found:
            self._key_name = found[0].name
            self._set("key", [self._key_name], f"{self._key_name} is different in every row")
            return
        self._set("key", [])
        name, note = attributes.maybe_key(self._look, self._used)
        if name:
            self._set("key", [name], note, on=False)

    def _guards(self) -> None:
        for name, setting in MODELS[self._kind.kind].model_fields.items():
            if name not in _GUARDS:
                continue
            value, note = _SPELLED.get(name, setting.default), ""
            if name == "unknown_people":
                value = "refuse" if self._has_customers else "send"
            elif name == "shared_emails":
                note = attributes.shared_emails(self._look, self._used)
            self._set(name, value, f"{note}: {ABOUT[name]}" if note else "")

    def _columns(self) -> None:
        look, kind = self._look, self._kind.kind
        for column in look.columns.values():
            if column in self._used:
                continue
            timestamps = column.timestamps()
            if timestamps is None:
                self._made.columns += attributes.typed(column, look, kind, self._nulls)
                if column.refusal:
                    self._made.remarks.append(f"{column.name} cannot be sent: {column.refusal}")
                    self._made.open.append(f"columns.{column.name}")
                continue
            name = attributes.attribute_name(column, look, kind)
            written = self._written(column, f"columns.{name}", is_day=timestamps.is_day)
            renamed = {} if name == column.name else {"from": column.name}
            type_ = "date" if timestamps.is_day else "timestamp"
            self._made.columns.append(
                Setting(name, {**renamed, "type": type_, **written.value}, written.note)
            )
