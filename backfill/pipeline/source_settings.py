"""The `[[source]]` tables: what is read, what its rows are, and what would stop a run."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, field_validator, model_validator

from backfill.pipeline.column_settings import Column, ColumnSetting, EventTimestamp, FromColumn
from backfill.pipeline.file_settings import FileSettings
from backfill.pipeline.setting_values import (
    Allowance,
    AllowanceSetting,
    DurationSetting,
    RelativeTime,
    StrictSettings,
    TimeSetting,
)

IdentifierType = Literal["id", "email", "cio_id"]

EVENT_NAME_BYTES_MAX = 100
"""The longest event name, in bytes of UTF-8 (Track OpenAPI)."""


class Identifier(StrictSettings):
    """The column that says who a row is about: exactly one of id, email, cio_id."""

    id: str | None = None
    email: str | None = None
    cio_id: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        # Two would be two people, and nothing says which one counts.
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
        # A column that is named and not used would be a mistake that nobody sees.
        if (self.mode == "cursor") != (self.column is not None):
            raise ValueError('mode = "cursor" and column = "…" need each other')
        if self.vanished == "delete" and self.mode not in ("diff", None):
            raise ValueError(
                'vanished = "delete" needs mode = "diff": no other mode sees every row'
            )
        return self


class SourceSettings(FileSettings):
    """What every kind of source has."""

    identifier: Identifier
    transform: str | None = None
    required: tuple[str, ...] = ()
    other_columns: Literal["keep", "drop", "error"] = "keep"
    columns: Mapping[str, ColumnSetting] = Field(default_factory=dict)
    reserved: Literal["refuse", "drop", "send"] = "refuse"
    sync: Sync = Sync()

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
    too_long: Literal["reject", "truncate", "drop"] = "reject"
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
    # None: it depends on the other sources, see `Pipeline.unknown_people`.
    unknown_people: Literal["refuse", "reject", "send"] | None = None
    # 1990: an older event is most often an epoch that was read in the wrong unit.
    earliest: TimeSetting = RelativeTime(unix_s=631_152_000)
    latest: TimeSetting = RelativeTime(after_now_s=86_400)

    @property
    def sync_mode(self) -> Literal["diff", "files", "cursor"]:
        """How a sync finds what is new; what is extracted anew each night is compared by ids."""
        return self.sync.mode or ("diff" if self.is_extracted else "files")

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
    # A deletion sends nothing but the identifier.
    other_columns: Literal["keep", "drop", "error"] = "drop"

    @field_validator("sync")
    @classmethod
    def _by_files(cls, value: Sync) -> Sync:
        if value.mode not in ("files", None):
            raise ValueError('deletions are tracked by file: use mode = "files"')
        return value


Source = Annotated[CustomersSource | EventsSource | DeletionsSource, Discriminator("kind")]
