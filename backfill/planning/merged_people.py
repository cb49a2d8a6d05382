"""People who stand in several rows: their attributes, field by field, later values winning."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.json_text import Mask, canonical_json
from backfill.encoding.members import Members
from backfill.judge.judge import ATTRIBUTES_MAX
from backfill.operations.encode import Api, Subjects, too_large
from backfill.pipeline.source_settings import Source
from backfill.rows import Rows

BUCKET_ROWS = 4096
"""Carrying rows of one file: all their people are in memory together."""

BUCKETS_AT_HAND = 4


class MergedPeople:
    """The attributes of merged people, on disk beside the rows that carry them.

    Args:
        folder: Where they are kept; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bucket = lru_cache(maxsize=BUCKETS_AT_HAND)(self._load)

    def add(self, part: int, rows: Iterable[int], attributes: Iterable[str]) -> None:
        """Take one more row of some people, to be called in the order of the rows.

        Args:
            part: The part of the rows that carry the people.
            rows: The rows that carry them.
            attributes: What the rows at hand say, as JSON members without braces.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lines: dict[int, list[bytes]] = {}
        for row, members in zip(rows, attributes, strict=True):
            lines.setdefault(row // BUCKET_ROWS, []).append(f"{row} {{{members}}}\n".encode())
        for bucket, some in lines.items():
            with self._path(part, bucket).open("ab") as file:
                file.writelines(some)

    def of(self, part: int, row: int) -> str | None:
        """All that a carrying row's person has, as members; None: more than the API takes."""
        merged = self._bucket(part, row // BUCKET_ROWS)[row]
        attributes = len(merged) - ("_update" in merged)
        return canonical_json(merged)[1:-1] if attributes <= ATTRIBUTES_MAX else None

    def rows(self, part: int, rows: Rows) -> list[str | None]:
        """The same for several rows."""
        return [self.of(part, row) for row in rows.tolist()]

    def put_together(
        self, source: Source, api: Api, part: int, subjects: Subjects, carriers: Mask
    ) -> tuple[Subjects, Mask]:
        """Give carrying rows all that their person has.

        Args:
            source: What the rows are.
            api: Which API they are for.
            part: Their part.
            subjects: The rows.
            carriers: Which of them carry a person.

        Returns:
            The rows, and which of them the API takes: those that carry no person all count.
        """
        found = self.rows(part, subjects.rows[carriers])
        whole = pc.replace_with_mask(
            subjects.attributes, pa.array(carriers), pa.array(found, pa.string())
        )
        subjects = replace(subjects, members=Members.of_text(pc.fill_null(whole, "")))
        fits = np.ones(len(subjects), np.bool_)
        fits[carriers] = np.array([each is not None for each in found], np.bool_)
        fits[carriers] &= ~too_large(source, api, subjects.take(carriers))
        return subjects, fits

    def _path(self, part: int, bucket: int) -> Path:
        return self._folder / f"{part}-{bucket}"

    def _load(self, part: int, bucket: int) -> dict[int, dict[str, Any]]:
        people: dict[int, dict[str, Any]] = {}
        for line in self._path(part, bucket).read_bytes().splitlines():
            row, _, document = line.partition(b" ")
            merge(people.setdefault(int(row), {}), orjson.loads(document))
        return people


def merge(person: dict[str, Any], later: dict[str, Any]) -> None:
    """Add what a later row says of a person; null never replaces a value."""
    for name, value in later.items():
        if value is not None or name not in person:
            person[name] = value
