"""The files that the benchmarks send, the same for every seed, and their pipeline files.

Started as `python tests/benchmarks/data.py FOLDER PIPELINE ROWS`.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

FIRST_US = 1_600_000_000_000_000
STEP_ROWS = 500_000
NAMES = np.array(["signed_in", "product_viewed", "cart_updated", "order_completed", "invited"])
ATTRIBUTES = 20

EVENTS = """
[[source]]
kind = "events"
files = ["{file}"]
identifier = {{ id = "id" }}
name = {{ from = "event" }}
timestamp = {{ from = "at" }}
"""
TYPES = """
[source.columns]
amount = "number"
quantity = "integer"
premium = "boolean"
"""
CUSTOMERS = """
[[source]]
kind = "customers"
files = ["customers.parquet"]
identifier = { id = "id" }
"""
PIPELINES = {
    "parquet": EVENTS.format(file="events.parquet"),
    "csv": EVENTS.format(file="events.csv") + TYPES,
    "customers": CUSTOMERS,
    "history": CUSTOMERS + EVENTS.format(file="events.parquet"),
    "v1": '[destination]\napi = "v1"\n' + EVENTS.format(file="events.parquet"),
}


def make(folder: Path, kinds: set[str], rows: int, seed: int = 1) -> None:
    """Write the files of some pipelines: each event and each customer is one of `rows`."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        (folder / f"{kind}.toml").write_text(f'name = "{kind}"\n{PIPELINES[kind]}')
    chance = np.random.default_rng(seed)
    if kinds & {"customers", "history"}:
        pa.parquet.write_table(customers_of(rows, chance), folder / "customers.parquet")
    if kinds & {"parquet", "history", "v1"}:
        _write(folder / "events.parquet", rows, chance)
    if "csv" in kinds:
        events = as_written(events_of(0, rows, rows, chance))
        options = pa.csv.WriteOptions(quoting_style="none")
        pa.csv.write_csv(events, folder / "events.csv", options)


def _write(path: Path, rows: int, chance: np.random.Generator) -> None:
    some = events_of(0, 1, rows, chance)
    with pa.parquet.ParquetWriter(path, some.schema) as writer:
        for first in range(0, rows, STEP_ROWS):
            count = min(STEP_ROWS, rows - first)
            writer.write_table(events_of(first, count, rows, chance), row_group_size=100_000)


def events_of(first: int, count: int, rows: int, chance: np.random.Generator) -> pa.Table:
    """Seven columns; every tenth row has a person of its own, each a moment of its own."""
    numbers = np.arange(first, first + count)
    return pa.table(
        {
            "id": texts("%08d", chance.integers(max(rows // 10, 1), size=count)),
            "event": pa.array(NAMES[numbers % len(NAMES)]),
            "at": pa.array(FIRST_US + numbers * 100_001, pa.timestamp("us", tz="UTC")),
            "page": texts("/products/%d", numbers % 5000),
            "amount": pa.array(np.round(chance.random(count) * 200, 2)),
            "quantity": pa.array(chance.integers(1, 9, count)),
            "premium": pa.array(chance.random(count) < 0.3),
        }
    )


def as_written(events: pa.Table) -> pa.Table:
    """Timestamps in ISO 8601, as an export has them."""
    at = pc.strftime(events["at"], format="%Y-%m-%dT%H:%M:%SZ")
    return events.set_column(events.schema.get_field_index("at"), "at", at)


def customers_of(
    rows: int, chance: np.random.Generator, attributes: int = ATTRIBUTES, first: int = 0
) -> pa.Table:
    """Attributes of four types; one value in ten is null."""
    columns = {"id": texts("%08d", np.arange(first, first + rows))}
    for place in range(attributes):
        nulls = chance.random(rows) < 0.1
        numbers = chance.integers(100_000, size=rows)
        values = {
            0: texts(f"text {place} of %d", numbers % 1000),
            1: pa.array(numbers),
            2: pa.array(numbers / 100),
            3: pa.array(numbers % 2 == 0),
        }[place % 4]
        columns[f"attribute_{place}"] = pc.if_else(pa.array(nulls), None, values)
    return pa.table(columns)


def texts(form: str, numbers: np.ndarray) -> pa.StringArray:
    """A text for each number."""
    return pa.array(np.char.mod(form, numbers))


if __name__ == "__main__":
    make(Path(sys.argv[1]), {sys.argv[2]}, int(sys.argv[3]))
