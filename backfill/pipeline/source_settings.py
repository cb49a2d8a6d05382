"""The `[[source]]` tables: what is read, what its rows are, and what would stop a run."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from backfill.pipeline.column_settings import (
    Column,
    ColumnSetting,
    ConsentColumns,
    EventTimestamp,
    FromColumn,
)
from backfill.pipeline.file_settings import FileSettings
from backfill.pipeline.setting_values import (
    Allowance,
    AllowanceSetting,
    Constant,
    DurationSetting,
    RelativeTime,
    StrictSettings,
    TimeSetting,
)

IdentifierType = Literal["id", "email", "cio_id"]

_OBJECT_TYPE = re.compile(r"[1-9][0-9]{0,17}")

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


def _object_type(value: object) -> object:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _OBJECT_TYPE.fullmatch(text):
        raise ValueError('give the number of the object type, such as "1": not its name')
    return text


ObjectType = Annotated[str, BeforeValidator(_object_type, json_schema_input_type=int | str)]
"""Object types "are string-formatted integers that begin at 1" (Track OpenAPI)."""


class ObjectIdentifier(StrictSettings):
    """The column that says which object a row is about."""

    object_id: str = Field(min_length=1)

    @property
    def type(self) -> Literal["object_id"]:
        """The identifier's kind."""
        return "object_id"

    @property
    def column(self) -> str:
        """The column that holds it."""
        return self.object_id


class RelatedObject(StrictSettings):
    """The object of a relationship: its type, and the column with its id."""

    object_type: ObjectType = Field(alias="type")
    id: str = Field(min_length=1)

    @property
    def type(self) -> Literal["object_id"]:
        """The identifier's kind."""
        return "object_id"

    @property
    def column(self) -> str:
        """The column that holds it."""
        return self.id


AnyIdentifier = Identifier | ObjectIdentifier | RelatedObject
"""What names a person or an object: a `type` and a `column`."""


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

    transform: str | None = None
    required: tuple[str, ...] = ()
    other_columns: Literal["keep", "drop", "error"] = "keep"
    drop: tuple[str, ...] = ()
    columns: Mapping[str, ColumnSetting] = Field(default_factory=dict)
    reserved: Literal["refuse", "drop", "send"] = "refuse"
    sync: Sync = Sync()
    _mark: dict[str, Constant] = PrivateAttr(default_factory=dict)

    @property
    def is_profile(self) -> bool:
        """Whether rows say what is known of something: several rows of one are one operation."""
        return False

    @property
    def removes(self) -> bool:
        """Whether rows take something away: each says whom it is about, and nothing else."""
        return False

    @property
    def target(self) -> AnyIdentifier | None:
        """What else a row names: a relationship's object, the person whom a merge leaves."""
        return None

    def declared(self) -> dict[str, Column]:
        """The declared attributes, each with the column it comes from."""
        return {
            name: column.model_copy(update={"from_": column.from_ or name})
            for name, column in self.columns.items()
            if column.value is None
        }

    def constants(self) -> dict[str, Constant]:
        """The attributes that every row says."""
        values = {name: column.value for name, column in self.columns.items()}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def mark(self) -> Mapping[str, Constant]:
        """What `[import]` adds to each person or event."""
        return self._mark

    def marked(self, mark: Mapping[str, Constant]) -> None:
        """Take the mark of `[import]`, which the file says once for all sources."""
        self._mark = {name: mark[name] for name in sorted(mark)}


class ProfileSource(SourceSettings):
    """What is known of people, objects, relationships: attributes, within the same limits."""

    nulls: Literal["omit", "clear"] = "omit"
    too_long: Literal["reject", "truncate", "drop"] = "reject"

    @property
    def is_profile(self) -> bool:
        """Whether rows say what is known of something."""
        return True

    @property
    def sync_mode(self) -> Literal["diff", "files", "cursor"]:
        """How a sync finds what is new."""
        return self.sync.mode or "diff"


class CustomersSource(ProfileSource):
    """People and their attributes."""

    kind: Literal["customers"]
    identifier: Identifier
    create: bool = True
    shared_emails: Literal["refuse", "first", "send"] = "refuse"
    columns: ConsentColumns = Field(default_factory=dict)
    consent: Literal["refuse", "ignore"] = "refuse"

    def constants(self) -> dict[str, Constant]:
        """The attributes that every row says, the mark of its import among them."""
        return {**super().constants(), **self.mark}


class ObjectsSource(ProfileSource):
    """What people belong to, such as companies or courses, and its attributes."""

    kind: Literal["objects"]
    object_type: ObjectType
    identifier: ObjectIdentifier

    @field_validator("sync")
    @classmethod
    def _no_object_vanishes(cls, value: Sync) -> Sync:
        if value.vanished == "delete":
            raise ValueError('vanished = "delete" is about people and relationships, not objects')
        return value


class RelationshipsSource(ProfileSource):
    """Which person belongs to which object, and what is known of that."""

    kind: Literal["relationships"]
    identifier: Identifier
    object: RelatedObject
    action: Literal["add", "remove"] = "add"
    # None: it depends on the other sources, see `Pipeline.unknown_people`.
    unknown_people: Literal["refuse", "reject", "send"] | None = None

    @property
    def is_profile(self) -> bool:
        """Whether rows say what is known of something."""
        return self.action == "add"

    @property
    def removes(self) -> bool:
        """Whether rows take something away."""
        return self.action == "remove"

    @property
    def sync_mode(self) -> Literal["diff", "files", "cursor"]:
        """How a sync finds what is new; what was removed stays so, as deletions do."""
        return self.sync.mode or ("files" if self.removes else "diff")

    @property
    def target(self) -> RelatedObject:
        """What else a row names."""
        return self.object

    @model_validator(mode="after")
    def _removes_by_files(self) -> Self:
        if self.removes and self.sync.mode not in ("files", None):
            raise ValueError('action = "remove" is tracked by file: use mode = "files"')
        return self


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
            raise ValueError(
                'vanished = "delete" needs kind = "customers" or "relationships": other rows stay'
                " as they are"
            )
        return value


class EventsSource(LastingSource):
    """Events, each with the person it is about and the moment it happened."""

    kind: Literal["events"]
    identifier: Identifier
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


class RemovalSource(LastingSource):
    """People who are taken away; only who they are is sent."""

    other_columns: Literal["keep", "drop", "error"] = "drop"

    @property
    def removes(self) -> bool:
        """Whether rows take something away."""
        return True

    @field_validator("sync")
    @classmethod
    def _by_files(cls, value: Sync) -> Sync:
        if value.mode not in ("files", None):
            raise ValueError('deletions and merges are tracked by file: use mode = "files"')
        return value


class MergesSource(RemovalSource):
    """People who are somebody else: what is known of them goes over, and they are deleted."""

    kind: Literal["merges"]
    primary: Identifier
    secondary: Identifier
    merges_max: AllowanceSetting = Allowance(count=100)

    @property
    def identifier(self) -> Identifier:
        """Whom a row takes away."""
        return self.secondary

    @property
    def target(self) -> Identifier:
        """Whom it leaves."""
        return self.primary


class DeletionsSource(RemovalSource):
    """People to be deleted, or suppressed for ever."""

    kind: Literal["deletions"]
    identifier: Identifier
    action: Literal["delete", "suppress"] = "delete"
    deletes_max: AllowanceSetting = Allowance(count=100)


Source = Annotated[
    CustomersSource
    | ObjectsSource
    | RelationshipsSource
    | MergesSource
    | EventsSource
    | DeletionsSource,
    Discriminator("kind"),
]

KINDS: Mapping[str, type[SourceSettings]] = {
    "customers": CustomersSource,
    "objects": ObjectsSource,
    "relationships": RelationshipsSource,
    "merges": MergesSource,
    "events": EventsSource,
    "deletions": DeletionsSource,
}
"""Every kind of source, in the order in which they are sent, with a barrier between them."""

V2_ONLY = ("objects", "relationships", "merges")
"""The kinds that v1 has no operations for, or other ones (Track OpenAPI, `/api/v2/entity`)."""
