"""The pipeline file: TOML -> frozen settings, with every mistake reported at once, by its key.

Pipeline
├── Destination       where to, how fast
└── Source …          what is read: CustomersSource | EventsSource | DeletionsSource
    └── Column …      one declared attribute
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from backfill.errors import UsageError
from backfill.instants import Reading, validate_reading
from backfill.pipeline.amounts import Allowance as Allowance  # noqa: PLC0414 - a setting like the others
from backfill.pipeline.amounts import (
    AllowanceSetting,
    DurationSetting,
    MomentSetting,
    RelativeTime,
    StrictSettings,
)
from backfill.pipeline.mistakes import mistakes
from backfill.pipeline.unattended import Notify, Sync

IdentifierType = Literal["id", "email", "cio_id"]
ColumnType = Literal["string", "integer", "number", "boolean", "timestamp", "date", "json"]
Ambiguous = Literal["reject", "earlier", "later"]
Nonexistent = Literal["reject", "forward", "backward"]

EVENT_NAME_BYTES_MAX = 100
"""The longest event name, in bytes of UTF-8 (Track OpenAPI)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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
    def sync_mode(self) -> Literal["files", "cursor"]:
        """How a sync finds what is new."""
        return "cursor" if self.sync.mode == "cursor" else "files"

    @field_validator("sync")
    @classmethod
    def _no_diff(cls, value: Sync) -> Sync:
        if value.mode == "diff" or value.vanished == "delete":
            raise ValueError('only customers can be compared; use mode = "files" or "cursor"')
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
        if value.mode == "cursor":
            raise ValueError('deletions are told apart by their files: use mode = "files"')
        return value


Source = Annotated[CustomersSource | EventsSource | DeletionsSource, Discriminator("kind")]


class Destination(StrictSettings):
    """Where requests go, how fast, and how long an outage may last before a run stops."""

    api: Literal["v1", "v2"] = "v2"
    region: Literal["us", "eu"] | None = None
    url: str | None = None
    credentials: str | None = None
    rate: float = Field(default=100, ge=0)
    concurrency: int | None = Field(default=None, ge=1, le=1024)
    outage_max: DurationSetting = Field(default=900, gt=0)


class Pipeline(StrictSettings):
    """A pipeline file, read and checked. Make one with `Pipeline.load`."""

    name: str
    namespace: str = ""
    rejected_max: AllowanceSetting = Allowance(share=0.01)
    keep_runs: int = Field(default=30, ge=1)
    destination: Destination = Destination()
    notify: Notify | None = None
    sources: tuple[Source, ...] = Field(alias="source")
    path: Path = Field(exclude=True)

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("use letters, digits, '.', '_' and '-': state is kept in this folder")
        return value

    @field_validator("sources")
    @classmethod
    def _any(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        if not value:
            raise ValueError("name at least one [[source]]")
        return value

    @classmethod
    def load(cls, path: str | Path) -> "Pipeline":
        """Read a pipeline file.

        Raises:
            UsageError: It cannot be read, or has mistakes; all of them are named, by key.
        """
        path = Path(path)
        try:
            document = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise UsageError(
                f"{path}: no such pipeline file", next_step=_other_files(path)
            ) from None
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be read: {error.strerror}", next_step=_other_files(path)
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{path}: is not TOML: {error}", next_step=_instead_of(path)
            ) from error
        try:
            return cls.model_validate({**document, "path": path.resolve()})
        except ValidationError as error:
            lines = "\n".join(f"  {each}" for each in mistakes(error, _TABLES))
            raise UsageError(
                f"{path}: cannot be used:\n{lines}",
                next_step="mend these keys of the pipeline file and start again",
            ) from None

    @property
    def folder(self) -> Path:
        """The folder that the file's own paths start from."""
        return self.path.parent

    @property
    def has_customers(self) -> bool:
        """Whether any source names the people."""
        return any(source.kind == "customers" for source in self.sources)

    def unknown_people(self, source: EventsSource) -> Literal["refuse", "reject", "send"]:
        """What happens to events about people whom no customers source names."""
        return source.unknown_people or ("refuse" if self.has_customers else "send")

    def digest(self) -> str:
        """What makes operations and ids, as a short text: it changes when they would.

        Rate, concurrency, url and the guards are no part of it; the transforms' code is.

        Raises:
            UsageError: A transform's file cannot be read.
        """
        sources = []
        for source in self.sources:
            settings = source.model_dump(mode="json", by_alias=True, exclude=set(_UNBOUND))
            settings["drops_reserved"] = source.reserved == "drop"
            if source.transform:
                settings["transform_code"] = _code_digest(self.folder, source.transform)
            sources.append(settings)
        kept = {"namespace": self.namespace, "api": self.destination.api, "sources": sources}
        text = json.dumps(kept, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def policies(self) -> str:
        """The settings that bind nothing but change what a plan finds, as a short text."""
        kept = [source.model_dump(mode="json", include=set(_UNBOUND)) for source in self.sources]
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:32]


_UNBOUND = (
    "files",
    "shared_emails",
    "identical_rows",
    "repeated_keys",
    "recent_events",
    "unknown_people",
    "reserved",
    "earliest",
    "latest",
    "deletes_max",
    "sync",
)


def _code_digest(folder: Path, transform: str) -> str:
    try:
        code = (folder / transform.partition(":")[0]).read_bytes()
    except OSError as error:
        raise UsageError(
            f"transform = {transform!r}: the file cannot be read: {error.strerror}",
            next_step="name a .py file beside the pipeline file",
        ) from error
    return hashlib.sha256(code).hexdigest()


def _instead_of(path: Path) -> str:
    """What to do with a file that is no pipeline file."""
    if path.suffix == ".toml":
        return "mend that line of the pipeline file, and start again"
    return f"name a pipeline file; `backfill init {path}` writes one for files of rows"


def _other_files(path: Path) -> str:
    near = get_close_matches(path.name, [each.name for each in path.parent.glob("*.toml")], 3, 0.4)
    return f"did you mean {', '.join(near)}?" if near else "name the pipeline file to use"


_TABLES: dict[str, type[StrictSettings]] = {
    "": Pipeline,
    "customers": CustomersSource,
    "events": EventsSource,
    "deletions": DeletionsSource,
    "destination": Destination,
    "identifier": Identifier,
    "notify": Notify,
    "sync": Sync,
    "timestamp": EventTimestamp,
    "name": FromColumn,
    "columns": Column,
}
"""Which keys there are below which key."""
