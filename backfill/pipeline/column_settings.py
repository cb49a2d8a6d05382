"""How a column is declared: its type, where it comes from, how its timestamps are written."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from backfill.instants import Reading, validate_reading
from backfill.pipeline.setting_values import Constant, StrictSettings

ColumnType = Literal["string", "integer", "number", "boolean", "timestamp", "date", "json"]

Ambiguous = Literal["reject", "earlier", "later"]

Nonexistent = Literal["reject", "forward", "backward"]

PREFERENCES = "cio_subscription_preferences"
"""The attribute that holds topics and channels. Its parts are sent under names with dots, which
leave the others as they are (Track OpenAPI; channels: docs, "Manage subscription preferences")."""

_CONSENT = re.compile(rf"unsubscribed|{PREFERENCES}\.(topics\.topic_[0-9]+|channels\.[a-z_]+)")
_ONLY_DATED = ("format", "timezone", "zones", "pivot")
_ONLY_BOOLEAN = ("invert", "true_values", "false_values")

JOINED_BY = " + "
"""What stands between the columns whose texts make one value: a name of its own, `day + clock`."""


def _joined(value: object) -> object:
    return JOINED_BY.join(map(str, value)) if isinstance(value, list | tuple) else value


ColumnName = Annotated[
    str, BeforeValidator(_joined, json_schema_input_type=str | list[str]), Field(min_length=1)
]
"""A column, a member of an object (`a.b`), or a list of columns joined by a space."""


class FromColumn(StrictSettings):
    """A value that each row brings in one of its columns."""

    from_: ColumnName = Field(alias="from")


class Dated(StrictSettings):
    """How timestamps are written in a column; all left out: proved from the whole column."""

    format: str | None = None
    timezone: str | FromColumn | None = None
    zones: Mapping[str, str] = Field(default_factory=dict)
    pivot: int | None = Field(default=None, ge=0, le=100)
    ambiguous: Ambiguous = "reject"
    nonexistent: Nonexistent = "reject"

    @model_validator(mode="after")
    def _readable(self) -> Self:
        # Any format will do to prove the zone; what is left out is found in the data later.
        validate_reading(self.reading(self.format or "iso8601"))
        return self

    @property
    def timezone_column(self) -> str | None:
        """The column that has the zone of each row; None where there is none."""
        return self.timezone.from_ if isinstance(self.timezone, FromColumn) else None

    def reading(self, format_: str) -> Reading:
        """How the column is read in a format."""
        return Reading(
            format_,
            timezone=self.timezone if isinstance(self.timezone, str) else None,
            ambiguous=self.ambiguous,
            nonexistent=self.nonexistent,
            date_only=getattr(self, "type", "timestamp") == "date",
            timezone_from=self.timezone_column,
            zones=tuple(self.zones.items()),
            pivot=self.pivot,
        )


def is_consent(name: str) -> bool:
    """Whether the service takes an attribute for consent: `unsubscribed`, a topic, a channel.

    >>> is_consent("unsubscribed"), is_consent("cio_subscription_preferences.topics.topic_3")
    (True, True)
    """
    return _CONSENT.fullmatch(name) is not None


class Column(Dated):
    """A declared attribute: its type, and the column it comes from when that has another name.

    Or a constant: `value` is what every row says.
    """

    from_: ColumnName | None = Field(default=None, alias="from")
    type: ColumnType = "string"
    invert: bool = False
    true_values: tuple[str, ...] = ()
    false_values: tuple[str, ...] = ()
    value: Constant | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.value is not None and (others := self.model_fields_set - {"value"}):
            named = ", ".join(each.removesuffix("_") for each in sorted(others))
            raise ValueError(f"value is what every row says: remove {named}")
        if self.type not in ("timestamp", "date"):
            self._refuse_any(_ONLY_DATED, '"timestamp" or "date"')
        if self.type != "boolean":
            self._refuse_any(_ONLY_BOOLEAN, '"boolean"')
        both = {each.strip().lower() for each in self.true_values}.intersection(
            each.strip().lower() for each in self.false_values
        )
        if both:
            raise ValueError(f"{min(both)!r} is among true_values and false_values")
        return self

    def _refuse_any(self, keys: tuple[str, ...], types: str) -> None:
        for key in keys:
            if getattr(self, key):
                raise ValueError(f"{key.removesuffix('_')} is for type = {types} only")


class EventTimestamp(Dated):
    """When the event happened."""

    from_: ColumnName = Field(alias="from")


def _column(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


ColumnSetting = Annotated[
    Column, BeforeValidator(_column, json_schema_input_type=ColumnType | Column)
]


def _consent_is_boolean(columns: object) -> object:
    """Consent is a boolean, whatever is declared: any other value would unsubscribe nobody.

    Raises:
        ValueError: A name is nearly that of a topic or channel, or a constant is none of both.
    """
    if not isinstance(columns, Mapping):
        return columns
    found = dict(columns)
    for name, column in columns.items():
        if name.startswith(f"{PREFERENCES}.") and not is_consent(name):
            raise ValueError(
                f"{name!r} is no topic and no channel: write {PREFERENCES}.topics.topic_3, with the"
                f" number of the topic, or {PREFERENCES}.channels.sms"
            )
        if name == PREFERENCES:
            said = {"type": column} if isinstance(column, str) else column
            if isinstance(said, Mapping) and said.get("type", "json") != "json":
                raise ValueError(f'{name} is an object: write type = "json"')
            found[name] = {**said, "type": "json"} if isinstance(said, Mapping) else said
        if not is_consent(name):
            continue
        if isinstance(column, str):
            found[name] = {"type": "boolean"}
        elif isinstance(column, Mapping) and "value" not in column:
            found[name] = {**column, "type": "boolean"}
        elif isinstance(column, Mapping) and not isinstance(column["value"], bool):
            raise ValueError(f"{name}: value must be true or false")
    return found


ConsentColumns = Annotated[Mapping[str, ColumnSetting], BeforeValidator(_consent_is_boolean)]
"""Declared attributes of people, by the names under which they are sent."""
