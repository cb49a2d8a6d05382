"""Columns that are not in a file but in the names of its folders, as Hive writes them."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

_NULL = "__HIVE_DEFAULT_PARTITION__"


def partitions_of(path: Path, base: Path) -> dict[str, str]:
    """The columns that the names of the folders declare: `day=2024-01-31/x.parquet`.

    As Hive writes them: percent-encoded, always text. Only folders below `base` count.

    >>> partitions_of(Path("in/day=2024-01-31/shop=A%2FB/x.parquet"), Path("in"))
    {'day': '2024-01-31', 'shop': 'A/B'}
    """
    return dict(_named(Path(os.path.relpath(path, base)).parent.parts))


def _named(folders: Collection[str]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        name, equals, value = folder.partition("=")
        if name and equals:
            yield unquote(name), unquote(value)


@dataclass(frozen=True, slots=True)
class PartitionColumns:
    """The columns that each row of a file has from the folders: one value for all rows.

    Args:
        values: The text by column; None where Hive says that there is no value.
    """

    values: Mapping[str, str | None]

    @classmethod
    def of(cls, partitions: Mapping[str, str], names: Collection[str]) -> "PartitionColumns":
        """Those of the folders that the file does not have itself.

        Args:
            partitions: The columns of the folders, as `partitions_of` gives them.
            names: The file's own columns. What the file says of a row counts, not the folder:
                Spark leaves such a column out of the file, other writers keep it.
        """
        return cls(
            {
                name: None if value == _NULL else value
                for name, value in partitions.items()
                if name not in names
            }
        )

    def wanted(self, columns: Collection[str] | None) -> dict[str, str | None]:
        """The values of these columns; of all, if None."""
        return {
            name: value for name, value in self.values.items() if columns is None or name in columns
        }

    def added_to(
        self, batch: pa.RecordBatch, row_count: int, columns: Collection[str] | None
    ) -> pa.RecordBatch:
        """The batch and a string column of length `row_count` for each wanted value.

        Args:
            batch: The columns of the file, of length `row_count`.
            row_count: A batch without columns does not know its rows.
            columns: Which columns are wanted; all, if None.
        """
        values = self.wanted(columns)
        if not values:
            return batch
        arrays = [pa.repeat(pa.scalar(value, pa.string()), row_count) for value in values.values()]
        names = [*batch.schema.names, *values]
        return pa.RecordBatch.from_arrays([*batch.columns, *arrays], names=names)
