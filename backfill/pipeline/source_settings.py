"""The `[[source]]` tables: what is read, what its rows are, and what would stop a run."""

import codecs
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, ValidationInfo, field_validator, model_validator

from backfill.pipeline.amounts import (
    Allowance,
    AllowanceSetting,
    DurationSetting,
    MomentSetting,
    RelativeTime,
    StrictSettings,
)
from backfill.pipeline.columns import Column, ColumnSetting, EventTimestamp, FromColumn, Identifier

FormatName = Literal["csv", "tsv", "parquet", "jsonl", "json"]

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
        # A column that is named and not used would be a mistake that nobody sees.
        if (self.mode == "cursor") != (self.column is not None):
            raise ValueError('mode = "cursor" and column = "…" need each other')
        if self.vanished == "delete" and self.mode not in ("diff", None):
            raise ValueError(
                'vanished = "delete" needs mode = "diff": no other mode sees every row'
            )
        return self


class FileSettings(StrictSettings):
    """Which files a source reads, and how they are written where their names do not tell."""

    files: tuple[str, ...] = Field(min_length=1)
    format: FormatName | None = None
    encoding: str = "utf-8"
    quote: str = Field(default='"', max_length=1)
    escape: str = Field(default="", max_length=1)
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    skip_lines: int = Field(default=0, ge=0)
    header: tuple[str, ...] | None = None
    trim: bool = False
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " "] = ""
    null_values: tuple[str, ...] = ()
    missing_columns: Literal["refuse", "null"] = "refuse"
    where: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    last_line: Literal["send", "wait"] | None = None

    @field_validator("quote", "escape", "delimiter")
    @classmethod
    def _has_one_meaning(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and (value in "\r\n\0" or not value.isascii()):
            raise ValueError("give one ASCII character, and no line end")
        # Those that were declared before this one.
        if value and value in (info.data.get(key) for key in ("quote", "escape")):
            raise ValueError("delimiter, quote and escape must be different characters")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(
                'there is no such encoding; name one of Python, such as "utf-8" or "cp1252"'
            ) from None
        return value

    @field_validator("where", mode="before")
    @classmethod
    def _as_texts(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        lists = {
            key: each if isinstance(each, list | tuple) else [each] for key, each in value.items()
        }
        # What a cell holds is compared as text: 1 and true are written so in every format.
        return {
            key: [str(one).lower() if isinstance(one, bool) else str(one) for one in each]
            for key, each in lists.items()
        }

    @field_validator("header")
    @classmethod
    def _names_columns(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not any(value) or len(set(value)) < len(value)):
            raise ValueError("name each column once, in the order of the file")
        return value

    @model_validator(mode="after")
    def _two_marks(self) -> Self:
        if self.thousands and self.thousands == self.decimal:
            raise ValueError("thousands and decimal must be different characters")
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
    # A deletion sends nothing but the identifier.
    other_columns: Literal["keep", "drop", "error"] = "drop"

    @field_validator("sync")
    @classmethod
    def _by_files(cls, value: Sync) -> Sync:
        if value.mode not in ("files", None):
            raise ValueError('deletions are tracked by file: use mode = "files"')
        return value


Source = Annotated[CustomersSource | EventsSource | DeletionsSource, Discriminator("kind")]
