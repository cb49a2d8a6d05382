"""The `[[source]]` tables: what is read, what its rows are, and what would stop a run."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, field_validator, model_validator

from backfill.pipeline.amounts import (
    Allowance,
    AllowanceSetting,
    DurationSetting,
    MomentSetting,
    RelativeTime,
    StrictSettings,
)
from backfill.pipeline.columns import Column, ColumnSetting, EventTimestamp, FromColumn, Identifier

EVENT_NAME_BYTES_MAX = 100
"""The longest event name, in bytes of UTF-8 (Track OpenAPI)."""


class Sync(StrictSettings):
    """How a source says what is new; counts in a sync only."""

    mode: Literal["diff", "files", "cursor"] | None = None
    column: str | None = None
    lookback: DurationSetting = Field(default=2 * 86_400, ge=0)
    vanished: Literal["keep", "delete"] = "keep"
    deletes_max: AllowanceSetting = Allowance(share=0.01)
    rows_change_max: AllowanceSetting = Allowance(share=0.5)
    schema_change: Literal["refuse", "accept"] = "refuse"
    files_change: Literal["refuse", "send"] = "refuse"

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        if (self.mode == "cursor") != (self.column is not None):
            raise ValueError('mode = "cursor" and column = "…" need each other')
        if self.vanished == "delete" and self.mode not in ("diff", None):
            raise ValueError(
                'vanished = "delete" needs mode = "diff": no other mode sees every row'
            )
        return self


class SourceSettings(StrictSettings):
    """What every kind of source has."""

    files: tuple[str, ...] = Field(min_length=1)
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    encoding: Literal["utf-8", "latin-1", "cp1252", "utf-16"] = "utf-8"
    decimal: Literal[".", ","] = "."
    null_values: tuple[str, ...] = ()
    identifier: Identifier
    transform: str | None = None
    required: tuple[str, ...] = ()
    other_columns: Literal["keep", "drop", "error"] = "keep"
    columns: Mapping[str, ColumnSetting] = Field(default_factory=dict)
    reserved: Literal["refuse", "drop", "send"] = "refuse"
    sync: Sync = Sync()

    @field_validator("delimiter")
    @classmethod
    def _no_quote(cls, value: str | None) -> str | None:
        if value is not None and value in '"\r\n':
            raise ValueError("a quote or a line end cannot be the delimiter")
        return value

    def declared(self) -> dict[str, Column]:
        """The declared attributes, each with the column it comes from."""
        return {
            name: column.model_copy(update={"from_": column.from_ or name})
            for name, column in self.columns.items()
        }


class CustomersSource(SourceSettings):
    """People and their attributes."""

    kind: Literal["customers"]
    nulls: Literal["omit", "clear"] = "omit"
    create: bool = True
    shared_emails: Literal["refuse", "first", "send"] = "refuse"

    @property
    def sync_mode(self) -> Literal["diff", "files", "cursor"]:
        """How a sync finds what is new."""
        return self.sync.mode or "diff"


class LastingSource(SourceSettings):
    """Rows that stay as they are once they are written."""

    @property
    def sync_mode(self) -> Literal["diff", "files", "cursor"]:
        """How a sync finds what is new."""
        return self.sync.mode or "files"

    @field_validator("sync")
    @classmethod
    def _nobody_vanishes(cls, value: Sync) -> Sync:
        if value.vanished == "delete":
            raise ValueError('vanished = "delete" is about people: it needs kind = "customers"')
        return value


class EventsSource(LastingSource):
    """Events, each with the person it is about and the moment it happened."""

    kind: Literal["events"]
    type: Literal["event", "page", "screen"] = "event"
    name: str | FromColumn
    timestamp: EventTimestamp
    key: tuple[str, ...] = ()
    identical_rows: Literal["refuse", "keep", "collapse"] = "refuse"
    repeated_keys: Literal["refuse", "first"] = "refuse"
    recent_events: Literal["refuse", "send", "skip", "hold"] = "refuse"
    unknown_people: Literal["refuse", "reject", "send"] | None = None
    earliest: MomentSetting = RelativeTime(unix_s=631_152_000)
    latest: MomentSetting = RelativeTime(after_now_s=86_400)

    @field_validator("name")
    @classmethod
    def _sendable(cls, value: str | FromColumn) -> str | FromColumn:
        if isinstance(value, str) and not 0 < len(value.strip().encode()) <= EVENT_NAME_BYTES_MAX:
            raise ValueError(f"an event name has 1 to {EVENT_NAME_BYTES_MAX} bytes")
        return value


class DeletionsSource(LastingSource):
    """People to be deleted, or suppressed for ever."""

    kind: Literal["deletions"]
    action: Literal["delete", "suppress"] = "delete"
    deletes_max: AllowanceSetting = Allowance(count=100)
    other_columns: Literal["keep", "drop", "error"] = "drop"

    @field_validator("sync")
    @classmethod
    def _by_files(cls, value: Sync) -> Sync:
        if value.mode not in ("files", None):
            raise ValueError('deletions are tracked by file: use mode = "files"')
        return value


Source = Annotated[CustomersSource | EventsSource | DeletionsSource, Discriminator("kind")]
