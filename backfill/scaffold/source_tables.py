"""One `[[source]]` table: what a file was seen to hold, setting by setting."""

from dataclasses import replace
from itertools import pairwise

from backfill.encoding.column_names import used_up
from backfill.pipeline.mistakes import TODO
from backfill.pipeline.source_settings import (
    EVENT_NAME_BYTES_MAX,
    KINDS,
    IdentifierType,
)
from backfill.report.wording import counted
from backfill.scaffold import attributes
from backfill.scaffold.attributes import NumberMarks
from backfill.scaffold.column_profile import SURELY_NULL, ColumnProfile, TimestampColumn
from backfill.scaffold.consent_columns import propose_consent
from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.kinds import (
    Kind,
    clock_of,
    identifiers_of,
    keys_of,
    name_column_of,
    occurrences_of,
    zones_beside,
)
from backfill.scaffold.more_kinds import naming
from backfill.scaffold.pipeline_text import Proposal, Setting, Value, some, toml
from backfill.scaffold.questions import Ask, Question, nobody, zone
from backfill.scaffold.remarks import remarks_on
from backfill.scaffold.setting_docs import ABOUT
from backfill.sources.detection import Detected

_SPELLED: dict[str, object] = {
    "earliest": "1990-01-01",
    "latest": "now+1d",
    "deletes_max": 100,
    "merges_max": 100,
}
"""Defaults that the pipeline file spells in another way than the settings hold them."""

_GUARDS = (
    "required",
    "other_columns",
    "reserved",
    "nulls",
    "create",
    "shared_emails",
    "consent",
    "action",
    "identical_rows",
    "repeated_keys",
    "recent_events",
    "unknown_people",
    "earliest",
    "latest",
    "deletes_max",
    "merges_max",
)
"""Written out with their defaults: nobody should have to look up what can be answered."""


_NAMING_ONLY = ("deletions", "merges")
"""The kinds whose rows say whom they are about, and nothing else."""


class Writer:
    """Writes the settings of one source.

    Args:
        look: Its files.
        kind: What their rows are.
        timezone: The zone of clocks that carry none; None: a person is asked.
        ask: Asks a person.
        has_customers: Whether any source names the people.
    """

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
        self._marks = NumberMarks("" if look.format in ("jsonl", "json") else ".")
        self._made = Proposal(kind.kind, look.files, [f"{kind.kind}: {kind.why}"])

    def proposal(self, type_: IdentifierType | None, person: ColumnProfile | None) -> Proposal:
        """The whole table.

        Args:
            type_: The identifier's type.
            person: The column that says who a row is about; None: nothing says so.
        """
        self._kind_of_rows()
        self._files()
        self._named(type_, person)
        if self._kind.kind == "events":
            self._event()
        self._guards()
        self._other_kinds(type_, person)
        if self._kind.kind not in _NAMING_ONLY:
            self._columns()
        self._made.remarks += remarks_on(self._look, self._kind.kind, self._used)
        return self._made

    def _set(self, key: str, value: object, note: str = "", *, on: bool = True) -> None:
        self._made.settings.append(Setting(key, value, note or ABOUT[key], on))  # type: ignore[arg-type]

    def _decided(self, key: str, question: Question) -> str:
        """A person's answer; where there is none, the setting stays open as TODO."""
        answer = self._ask(question)
        if not answer:
            self._made.open.append(key)
        return answer or TODO

    def _kind_of_rows(self) -> None:
        kind = self._kind
        if not kind.others:
            self._set("kind", kind.kind)
            return
        self._made.open.append("kind")
        self._made.remarks[0] = f"{' or '.join(sorted([kind.kind, *kind.others]))}? {kind.why}"
        said = [f"{kind.kind}: {kind.why}"]
        said += [f"{other}: {why}" for other, why in kind.others.items()]
        self._set("kind", TODO, " | ".join([*said, "or remove this table to leave the file out"]))

    def _other_kinds(self, type_: IdentifierType | None, person: ColumnProfile | None) -> None:
        """What belongs there instead, as comments, where the rows may be of another kind."""
        have = {each.key for each in self._made.settings}
        for other, why in self._kind.others.items():
            kind = Kind(other, why)
            # The other kind is written out in full, and only what it needs besides is shown.
            writer = Writer(self._look, kind, TODO, nobody, has_customers=self._has_customers)
            needed = [
                each
                for each in writer.proposal(type_, person).settings
                if each.key not in have and each.on
            ]
            instead = [key for key in have if key in _GUARDS and key not in _fields_of(other)]
            note = f'for kind = "{other}", without {", ".join(sorted(instead))}'
            for each in needed:
                self._made.settings.append(replace(each, on=False, note=note or each.note))
                note = ""

    def _files(self) -> None:
        look = self._look
        if look.query is not None:
            query = {"sql": look.query.sql, "dsn_env": look.query.dsn_env}
            self._set("query", query, counted(look.rows, "row"))
            self._null_values()
            return
        self._set("files", look.files, counted(look.rows, "row"))
        written = look.written
        if written.format is not None:
            self._set(
                "format",
                written.format.value,
                f"{written.format.why}, which its name does not tell",
            )
        if written.delimiter is not None:
            self._set("delimiter", written.delimiter.value, written.delimiter.why)
        if written.skip_lines:
            self._set("skip_lines", written.skip_lines, "so many lines stand above the header")
        if written.header:
            self._made.open.append("header")
            names_ = toml(written.header)
            self._set(
                "header",
                TODO,
                f"the names of the columns, such as {names_}: they are"
                " called so below; if the first line is a header all the same, also skip_lines = 1",
            )
        if written.encoding is not None:
            self._encoding(written.encoding)
        self._quoting()
        if look.format == "csv" and self._kind.kind not in _NAMING_ONLY:
            self._marks = attributes.number_marks(look)
            self._set("decimal", self._marks.decimal, self._marks.why)
            if self._marks.thousands:
                self._set("thousands", self._marks.thousands)
        self._null_values()

    def _encoding(self, encoding: Detected) -> None:
        self._set("encoding", encoding.value, encoding.why)
        if encoding.value == TODO:
            self._made.open.append("encoding")

    def _quoting(self) -> None:
        """What may be meant where quotes stand out of place."""
        if "quote_out_of_place" in self._look.malformed:
            self._set("escape", "\\", 'if \\" is a quote inside a cell, as in dumps', on=False)
            self._set(
                "quote", "", "if quotes are letters like others, and enclose no cell", on=False
            )

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

    def _named(self, type_: IdentifierType | None, person: ColumnProfile | None) -> None:
        """What the rows are about."""
        kind = self._kind.kind
        if kind not in ("objects", "merges"):
            self._identifier(type_, person)
        for setting, used, open_key in naming(kind, self._look, person):
            self._made.settings.append(setting)
            self._used += used
            self._made.open += [open_key] if open_key else []

    def _identifier(self, type_: IdentifierType | None, person: ColumnProfile | None) -> None:
        if type_ is None or person is None:
            self._unknown_person()
            return
        self._used.append(person)
        note = person.distinct.shown("person", "people")
        # The best identifier of this file alone may be none that the other files have.
        if type_ != next(iter(identifiers_of(self._look, self._kind.kind))):
            note += f"; by {type_}, since the other files have no other identifier"
        called = {text: n for text, n in person.like_null.items() if text not in self._nulls}
        empty = self._look.rows - self._look.rows_malformed - person.values - sum(called.values())
        if empty > 0:
            note += f"; without one, and rejected: {counted(empty, 'row')}"
        for text, rows in called.items():
            note += f"; called {text}, unless null_values lists it: {counted(rows, 'row')}"
        self._set("identifier", {type_: person.name}, note)
        if person.holds_whole_floats:
            self._made.columns.append(
                Setting(person.name, "integer", "the file holds whole numbers with a point")
            )

    def _unknown_person(self) -> None:
        columns = tuple(each.name for each in self._look.every.values() if each.can_identify)
        text = f"{self._look.files[0]}: which column identifies the person?"
        answer = self._decided("identifier", Question(text, choices=columns))
        if answer != TODO:
            person = self._look.every[answer]
            self._used.append(person)
            self._set("identifier", {"email" if person.emails else "id": answer}, "your answer")
            return
        one_of = f"one of {some(columns)}" if columns else "none of them holds identifiers"
        note = f"no column surely identifies the person; {one_of}"
        self._set("identifier", {"id": TODO}, note)

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
        text = f"{self._look.files[0]}: what is the name of these events?"
        answer = self._decided("name", Question(text, name))
        note = f'what these events are called, such as "{name}", or {{ from = COLUMN }}'
        self._set("name", answer, note if answer == TODO else "your answer")

    def _timestamp(self) -> None:
        columns = occurrences_of(self._look)
        if columns:
            self._occurred(columns[0])
            return
        nearly = [
            f"{each.name}: {attributes.against(found)}"
            for each in self._look.every.values()
            if (found := each.nearly_timestamps())
        ]
        names_ = tuple(self._look.every)
        text = f"{self._look.files[0]}: which column says when? {'; '.join(nearly)}".strip()
        answer = self._decided("timestamp", Question(text, choices=names_))
        said = "; ".join(nearly) or "no column holds timestamps"
        note = f"{said}; one of {some(names_)}" if answer == TODO else "your answer"
        self._set("timestamp", {"from": answer}, note)

    def _occurred(self, day: ColumnProfile) -> None:
        """When it happened: in one column, or a day, its clock and its zone in their own."""
        self._used.append(day)
        written = day.timestamps()
        clock = clock_of(self._look, day)
        joined = written.with_clock(clock.clock) if written and clock else None
        if clock is None or joined is None:
            value, note = self._written(day, "timestamp", is_day=False)
            self._set("timestamp", {"from": day.name, **value}, note)
            return
        self._used.append(clock)
        zones = zones_beside(self._look, day, clock)
        if zones is not None:
            self._used.append(zones)
        value, note = self._written(day, "timestamp", joined, zones=zones, is_day=False)
        self._set("timestamp", {"from": [day.name, clock.name], **value}, note)

    def _written(
        self,
        column: ColumnProfile,
        key: str,
        written: TimestampColumn | None = None,
        zones: ColumnProfile | None = None,
        *,
        is_day: bool,
    ) -> tuple[dict[str, Value], str]:
        """How the timestamps of a column are written, and why; a day needs no zone."""
        timestamps = written or column.timestamps()
        if timestamps is None:
            raise ValueError(f"{column.name} holds no timestamps")
        file, value, note = self._look.files[0], dict[str, Value](), timestamps.evidence
        if timestamps.rivals:
            text = f"{file}: {column.name}: {note}; which one?"
            value["format"] = self._decided(
                f"{key}.format", Question(text, choices=timestamps.rivals)
            )
            note = note if value["format"] == TODO else "your answer"
        elif timestamps.format is not None:
            value["format"] = timestamps.format
        if timestamps.has_zone or is_day:
            return value, note
        if zones is not None:
            return {**value, "timezone": {"from": zones.name}}, note
        if self._timezone in (None, TODO):
            text = f"{file}: {column.name} has no time zone: which one? (an IANA name)"
            self._timezone = self._decided(f"{key}.timezone", Question(text, "UTC", check=zone))
        value["timezone"] = self._timezone or TODO
        if self._timezone == TODO:
            note += "; nothing proves the time zone: set it, for example Europe/Berlin"
        return value, note

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
        for name, setting in KINDS[self._kind.kind].model_fields.items():
            if name not in _GUARDS:
                continue
            value, note = _SPELLED.get(name, setting.default), ""
            if name == "unknown_people":
                value = "refuse" if self._has_customers else "send"
            elif name == "shared_emails":
                note = attributes.shared_emails(self._look, self._used)
            about = ABOUT.get(f"{KINDS[self._kind.kind].__name__}.{name}", ABOUT[name])
            self._set(name, value, f"{note}: {about}" if note else about)

    def _columns(self) -> None:
        look, kind = self._look, self._kind.kind
        sent_as = attributes.names_sent_as(look, kind)
        # What identifies, names or dates the rows is not sent a second time.
        used = {name for each in self._used for name in (each.name, *used_up(each.name, ()))}
        if kind == "customers":
            used |= self._consent(used)
        # A clock belongs to the day before it.
        behind = dict(pairwise(look.columns.values()))
        for column in attributes.declarable(look):
            if column.name in used or not look.is_readable(column.name):
                continue
            name = sent_as.get(column.name, column.name if column.name in look.columns else "")
            name = name or column.label  # of a wrapper around the value
            timestamps = column.timestamps()
            clock = behind.get(column)
            form = clock.clock if clock else ""
            if timestamps and clock and form and (joined := timestamps.with_clock(form)):
                used.add(clock.name)
                self._joined(name, column, clock, joined)
            elif timestamps is None and column.refusal:
                self._made.open.append(f"columns.{name}")
                note = f"'{column.name}' cannot be sent as it is: {column.refusal}"
                self._made.columns.append(Setting(name, TODO, note))
            elif timestamps is None:
                self._made.columns += attributes.typed(column, name, self._marks, self._nulls)
            else:
                value, note = self._written(column, f"columns.{name}", is_day=timestamps.is_day)
                renamed = {} if name == column.name else {"from": column.name}
                type_ = "date" if timestamps.is_day else "timestamp"
                self._made.columns.append(Setting(name, {**renamed, "type": type_, **value}, note))

    def _consent(self, used: set[str]) -> set[str]:
        """Declare who wants mail; the columns that are declared so."""
        found = propose_consent(self._look, used)
        if found.dropped:
            self._set("drop", found.dropped, "unsubscribed is declared from another column")
        self._made.columns += found.settings
        self._made.open += found.open
        self._made.remarks += found.remarks
        return found.used

    def _joined(
        self, name: str, day: ColumnProfile, clock: ColumnProfile, written: TimestampColumn
    ) -> None:
        """An attribute whose day and clock stand in two columns."""
        zones = zones_beside(self._look, day, clock)
        value, note = self._written(day, f"columns.{name}", written, zones=zones, is_day=False)
        joined = {"from": [day.name, clock.name], "type": "timestamp", **value}
        self._made.columns.append(Setting(name, joined, note))


def _fields_of(kind: str) -> set[str]:
    return set(KINDS[kind].model_fields)
