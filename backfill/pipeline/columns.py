"""Columns as a source declares them: who a row is about, when it happened, what it holds."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from backfill.instants import Reading, validate_reading
from backfill.pipeline.amounts import StrictSettings

IdentifierType = Literal["id", "email", "cio_id"]
ColumnType = Literal["string", "integer", "number", "boolean", "timestamp", "date", "json"]
Ambiguous = Literal["reject", "earlier", "later"]
Nonexistent = Literal["reject", "forward", "backward"]


class Dated(StrictSettings):
    """How moments are written in a column; all left out: proved from the whole column."""

    format: str | None = None
    timezone: str | None = None
    ambiguous: Ambiguous = "reject"
    nonexistent: Nonexistent = "reject"

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.timezone == "TODO":
            raise ValueError(
                'timezone = "TODO": nothing in the data proves the zone; name it, for example'
                ' "America/New_York" or "UTC"'
            )
        validate_reading(
            Reading(
                format=self.format or "iso8601",
                timezone=self.timezone,
                ambiguous=self.ambiguous,
                nonexistent=self.nonexistent,
            )
        )
        return self


class Column(Dated):
    """A declared attribute: its type, and the column it comes from when that has another name."""

    from_: str | None = Field(default=None, alias="from")
    type: ColumnType = "string"

    @model_validator(mode="after")
    def _dated_only_for_moments(self) -> Self:
        if self.type not in ("timestamp", "date"):
            for key in ("format", "timezone"):
                if getattr(self, key) is not None:
                    raise ValueError(f'{key} is for type = "timestamp" or "date" only')
        return self


class FromColumn(StrictSettings):
    """A value that each row brings in one of its columns."""

    from_: str = Field(alias="from", min_length=1)


class EventTimestamp(Dated):
    """When the event happened."""

    from_: str = Field(alias="from", min_length=1)


class Identifier(StrictSettings):
    """The column that says who a row is about: exactly one of id, email, cio_id."""

    id: str | None = None
    email: str | None = None
    cio_id: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(each is not None for each in (self.id, self.email, self.cio_id)) != 1:
            raise ValueError("give exactly one of id, email, cio_id, for example { id = … }")
        return self

    @property
    def type(self) -> IdentifierType:
        """The identifier's kind."""
        return "id" if self.id is not None else "email" if self.email is not None else "cio_id"

    @property
    def column(self) -> str:
        """The column that holds it."""
        return self.id or self.email or self.cio_id or ""


def _column(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


ColumnSetting = Annotated[
    Column, BeforeValidator(_column, json_schema_input_type=ColumnType | Column)
]
