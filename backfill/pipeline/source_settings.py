"""The `[[source]]` tables: what is read, what its rows are, and what would stop a run."""

import codecs
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, ValidationInfo, field_validator, model_validator

from backfill.pipeline.column_settings import Column, ColumnSetting, EventTimestamp, FromColumn
from backfill.pipeline.setting_values import (
    Allowance,
    AllowanceSetting,
    DurationSetting,
    RelativeTime,
    StrictSettings,
    TimeSetting,
)

IdentifierType = Literal["id", "email", "cio_id"]

FormatName = Literal["csv", "tsv", "parquet", "jsonl", "json"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_QUERIES = {"query", "decimal", "thousands", "null_values", "missing_columns", "where"}

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


class StorageSettings(StrictSettings):
    """Where object stores are; who may read them is said by the environment."""

    endpoint: str | None = None
    region: str | None = None
    anonymous: bool | None = None

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/@?#\s]+(/[^@?#\s]*)?", value):
            raise ValueError("give https://HOST, without a user name, a password or a query")
        return value

    def within(self, general: "StorageSettings") -> "StorageSettings":
        """These settings, and the general ones where nothing is said here."""
        own = self.model_dump(exclude_none=True)
        return general.model_copy(update=own)


STDIN = "-"
"""In the place of a file: what is piped into the command."""


class Query(StrictSettings):
    """Rows of a database, extracted once."""

    sql: str = Field(min_length=1)
    dsn_env: str = Field(min_length=1)

    @field_validator("dsn_env")
    @classmethod
    def _names_a_variable(cls, value: str) -> str:
        # An address in its place is a secret in a file, and must not be quoted either.
        if not _VARIABLE.fullmatch(value):
            raise ValueError(
                "must be the name of an environment variable, such as WAREHOUSE_DSN: the address"
                " itself is a secret"
            )
        return value


class FileSettings(StrictSettings):
    """Which files a source reads, and how they are written where their names do not tell."""

    # Where a file is, as its name, is no part of what is sent: of no digest.
    storage: StorageSettings = Field(default=StorageSettings(), exclude=True)
    query: Query | None = None
    format: FormatName | None = None
    files: tuple[str, ...] = Field(default=(), validate_default=True)
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

    @field_validator("files")
    @classmethod
    def _has_rows(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # Those that were declared before this one; one that is wrong has said so itself.
        query, format_ = (info.data.get(key, "") for key in ("query", "format"))
        if not value and query is None:
            raise ValueError("is missing; name files, or rows of a database by [source.query]")
        if value and query:
            raise ValueError("cannot stand beside [source.query]: write two sources")
        if STDIN in value and (len(value) > 1 or format_ is None):
            raise ValueError(
                '"-" reads what is piped into the command: it needs format = "…", and no other'
                " file beside it"
            )
        return value

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
    def _has_no_format(self) -> Self:
        unused = self.model_fields_set.intersection(FileSettings.model_fields) - _OF_QUERIES
        if unused and self.query:
            raise ValueError(
                f"{', '.join(sorted(unused))}: says how files are written, and a query has none"
            )
        return self

    @property
    def is_extracted(self) -> bool:
        """Whether its rows can be read only once, so that they are copied into a file first."""
        return self.query is not None or self.files == (STDIN,)

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
