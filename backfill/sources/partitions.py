"""Columns that are not in the file but in the name of its folder."""

from collections.abc import Collection, Mapping

import pyarrow as pa

_NULL = "__HIVE_DEFAULT_PARTITION__"


def added(partitions: Mapping[str, str], names: Collection[str]) -> dict[str, str | None]:
    """The partition columns that a file does not have itself: the file's own word counts.

    Hive's name for "no value" becomes null.
    """
    return {
        name: None if value == _NULL else value
        for name, value in partitions.items()
        if name not in names
    }


def extended(
    batch: pa.RecordBatch, row_count: int, constants: Mapping[str, str | None]
) -> pa.RecordBatch:
    """The batch and a column of text for each constant."""
    if not constants:
        return batch
    columns = [pa.repeat(pa.scalar(value, pa.string()), row_count) for value in constants.values()]
    return pa.RecordBatch.from_arrays(
        [*batch.columns, *columns], names=[*batch.schema.names, *constants]
    )
