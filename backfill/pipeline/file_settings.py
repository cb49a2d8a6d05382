"""Where the rows of a source are, and how their files are written."""

import codecs
import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from backfill.pipeline.setting_values import StrictSettings

FormatName = Literal["csv", "tsv", "parquet", "jsonl", "json"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_QUERIES = {"query", "decimal", "thousands", "null_values", "missing_columns", "where"}


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
