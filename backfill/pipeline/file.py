"""The pipeline file: TOML -> frozen settings, with every mistake reported at once, by its key.

Pipeline
├── Destination, Notify   where to, how fast, and who is told       destination_settings
└── Source …              what is read: customers, events, …        source_settings
    └── Column …          one declared attribute                    column_settings
"""

import hashlib
import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from backfill.errors import UsageError
from backfill.files import parse_toml
from backfill.pipeline.column_settings import Column, EventTimestamp, FromColumn
from backfill.pipeline.destination_settings import Destination, ImportMark, Notify, bucket_objection
from backfill.pipeline.file_settings import STDIN, Query, StorageSettings
from backfill.pipeline.mistakes import mistakes, open_settings
from backfill.pipeline.rate_windows import RateWindow
from backfill.pipeline.setting_values import Allowance, AllowanceSetting, StrictSettings
from backfill.pipeline.source_settings import (
    KINDS,
    V2_ONLY,
    EventsSource,
    Identifier,
    ObjectIdentifier,
    RelatedObject,
    RelationshipsSource,
    Source,
    Sync,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MISTAKES_SHOWN = 30


class Pipeline(StrictSettings):
    """A pipeline file, read and checked. Make one with `Pipeline.load`."""

    name: str
    namespace: str = ""
    state: str | None = None
    rejected_max: AllowanceSetting = Allowance(share=0.01)
    keep_runs: int = Field(default=30, ge=1)
    destination: Destination = Destination()
    import_: ImportMark = Field(default=ImportMark(), alias="import")
    notify: Notify | None = None
    storage: StorageSettings = StorageSettings()
    sources: tuple[Source, ...] = Field(alias="source")
    # Where the file stands is no part of what it says, and of no digest.
    path: Path = Field(exclude=True)

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("use letters, digits, '.', '_' and '-': state is kept in this folder")
        return value

    @field_validator("state")
    @classmethod
    def _is_a_bucket(cls, value: str | None) -> str | None:
        if value is not None and (why := bucket_objection(value)):
            raise ValueError(
                f'{why}; write "s3://BUCKET/FOLDER", or leave it out and use --state-dir'
            )
        return value and value.rstrip("/")

    @field_validator("sources")
    @classmethod
    def _any(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        if not value:
            raise ValueError("name at least one [[source]]")
        if sum(STDIN in each.files for each in value) > 1:
            raise ValueError('only one source can read stdin: files = ["-"]')
        return value

    @model_validator(mode="after")
    def _marks_its_rows(self) -> Self:
        if self.import_.segment is not None and not self.has_customers:
            raise ValueError(
                "[import] segment holds the people of the customers sources, and there is none"
            )
        for source in self.sources:
            if source.kind == "customers":
                source.marked(self.import_.attribute)
            if source.kind == "events":
                source.marked(self.import_.property)
            if both := set(source.mark) & set(source.columns):
                raise ValueError(
                    f"{min(both)!r} is a column of [source.columns] and of [import]: choose another"
                    " name for one of them"
                )
        return self

    @model_validator(mode="after")
    def _has_operations(self) -> Self:
        for number, each in enumerate(self.sources, 1):
            if self.destination.api == "v1" and each.kind in V2_ONLY:
                raise ValueError(
                    f'source[{number}] holds {each.kind}, which need api = "v2" under [destination]'
                )
        return self

    @classmethod
    def load(cls, path: str | Path) -> "Pipeline":
        """Read a pipeline file.

        Raises:
            UsageError: It cannot be read, or has mistakes; all of them are named, by key.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
            document = parse_toml(content)
        except FileNotFoundError:
            raise UsageError(
                f"{path}: no such pipeline file", next_step=_other_files(path)
            ) from None
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be read: {error.strerror}", next_step=_other_files(path)
            ) from error
        except ValueError as error:
            raise UsageError(
                f"{path}: is not TOML: {error}", next_step=_instead_of(path)
            ) from error
        if left := open_settings(document, content.decode("utf-8-sig")):
            lines = "\n".join(f"  {each}" for each in left)
            said = "1 setting is" if len(left) == 1 else f"{len(left):,} settings are"
            raise UsageError(
                f"{path}: {said} TODO:\n{lines}",
                next_step="decide these keys of the pipeline file, then run the command again",
            )
        try:
            return cls.model_validate({**document, "path": path.resolve()})
        except ValidationError as error:
            found = mistakes(error, _TABLES)
            beyond = len(found) - _MISTAKES_SHOWN
            more = [f"and {beyond:,} more"] if beyond > 0 else []
            lines = "\n".join(f"  {each}" for each in [*found[:_MISTAKES_SHOWN], *more])
            raise UsageError(
                f"{path}: cannot be used:\n{lines}",
                next_step="fix these keys of the pipeline file, then run the command again",
            ) from None

    @property
    def folder(self) -> Path:
        """The folder that the file's own paths start from."""
        return self.path.parent

    @property
    def has_customers(self) -> bool:
        """Whether any source names the people."""
        return self.has("customers")

    def has(self, kind: str) -> bool:
        """Whether any source is of this kind."""
        return any(source.kind == kind for source in self.sources)

    def unknown_people(
        self, source: EventsSource | RelationshipsSource
    ) -> Literal["refuse", "reject", "send"]:
        """What happens to rows about people whom no customers source names."""
        if source.removes:  # which makes no profile
            return "send"
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
            # Of `reserved` only this changes what is sent; the rest is a guard.
            settings["drops_reserved"] = source.reserved == "drop"
            if not source.drop:  # it came later than jobs that go on
                del settings["drop"]
            settings["columns"] = {
                name: {key: said for key, said in column.items() if _LATER.get(key, ...) != said}
                for name, column in settings["columns"].items()
            }
            # The code, not its name: an edited transform makes other operations.
            if source.transform:
                settings["transform_code"] = _code_digest(self.folder, source.transform)
            sources.append(settings)
        kept: dict[str, object] = {
            "namespace": self.namespace,
            "api": self.destination.api,
            "sources": sources,
        }
        # The others happen beside what is sent: they make no operation of a row another one.
        if mark := self.import_.model_dump(
            mode="json", exclude={"segment", "undo"}, exclude_defaults=True
        ):
            kept["import"] = mark
        text = json.dumps(kept, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def policies(self) -> str:
        """The settings that bind nothing but change what a plan finds, as a short text."""
        kept = [source.model_dump(mode="json", include=set(_UNBOUND)) for source in self.sources]
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:32]


_UNBOUND = (
    "files",
    "query",
    "shared_emails",
    "consent",
    "identical_rows",
    "repeated_keys",
    "recent_events",
    "unknown_people",
    "reserved",
    "earliest",
    "latest",
    "deletes_max",
    "merges_max",
    "sync",
)


_LATER = {"invert": False, "true_values": [], "false_values": [], "value": None}
"""Keys of columns that there were not always, with their defaults. As defaults they are in no
digest: a job that was begun before there were such keys goes on."""


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
        return "fix that line of the pipeline file, then run the command again"
    return f"name a pipeline file; `backfill init {path}` writes one for files of rows"


def _other_files(path: Path) -> str:
    near = get_close_matches(path.name, [each.name for each in path.parent.glob("*.toml")], 3, 0.4)
    return f"did you mean {', '.join(near)}?" if near else "name the pipeline file to use"


_TABLES: dict[str, type[StrictSettings]] = {
    "": Pipeline,
    **KINDS,
    "destination": Destination,
    "window": RateWindow,
    "identifier": Identifier,
    "objects.identifier": ObjectIdentifier,
    "object": RelatedObject,
    "primary": Identifier,
    "secondary": Identifier,
    "import": ImportMark,
    "notify": Notify,
    "storage": StorageSettings,
    "query": Query,
    "sync": Sync,
    "timestamp": EventTimestamp,
    "name": FromColumn,
    "columns": Column,
}
"""Which keys there are below which key."""
