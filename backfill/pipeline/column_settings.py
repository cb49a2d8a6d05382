"""How a column is declared: its type, where it comes from, how its timestamps are written."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from backfill.instants import Reading, validate_reading
from backfill.pipeline.setting_values import StrictSettings

ColumnType = Literal["string", "integer", "number", "boolean", "timestamp", "date", "json"]

Ambiguous = Literal["reject", "earlier", "later"]

Nonexistent = Literal["reject", "forward", "backward"]

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


class Column(Dated):
    """A declared attribute: its type, and the column it comes from when that has another name."""

    from_: ColumnName | None = Field(default=None, alias="from")
    type: ColumnType = "string"

    @model_validator(mode="after")
    def _dated_only_for_timestamps(self) -> Self:
        if self.type not in ("timestamp", "date"):
            for key in ("format", "timezone", "zones", "pivot"):
                if getattr(self, key):
                    raise ValueError(f'{key} is for type = "timestamp" or "date" only')
        return self


class EventTimestamp(Dated):
    """When the event happened."""

    from_: ColumnName = Field(alias="from")


def _column(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


ColumnSetting = Annotated[
    Column, BeforeValidator(_column, json_schema_input_type=ColumnType | Column)
]
