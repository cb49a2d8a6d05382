"""One small generator for each shape of data, the same for every seed.

Started as `python tests/benchmarks/shape_data.py FOLDER MAKE SIZE OPTIONS`, the last as JSON:
writes a file or more and a `pipeline.toml`. `shapes.py` says which there are.
"""

import json
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from data import CUSTOMERS, EVENTS, TYPES, as_written, customers_of, events_of, texts

STEP_ROWS = 100_000
ROWS_PER_FILE = 10
SMALL_GROUPS = 10_000
DAY_US = 86_400_000_000
FIRST_DAY_US = 7_305 * DAY_US  # 1990-01-01
YEARS_US = 55 * 365 * DAY_US

Change = Callable[[pa.Table, np.ndarray], pa.Table]
"""Makes another table of events and the numbers of its rows."""


def events(folder: Path, rows: int, *, dictionary: bool = False) -> None:
    """The paved road; or with a dictionary column in which nearly every value is another."""

    def changed(table: pa.Table, numbers: np.ndarray) -> pa.Table:
        pages = texts("/products/%09d", numbers * 7919 % rows)
        return _with(table, "page", pc.dictionary_encode(pages))

    _pipeline(folder, EVENTS.format(file="events.parquet"))
    _parquet(folder, rows, changed if dictionary else None)


def events_csv(folder: Path, rows: int, change: Change | None = None) -> None:
    """The paved road in CSV."""
    _pipeline(folder, EVENTS.format(file="events.csv") + TYPES)
    _csv(folder / "events.csv", _steps(rows, change))


def rejected(folder: Path, rows: int, *, every: int) -> None:
    """Events of which every so manieth has a word where a number must be."""

    def changed(table: pa.Table, numbers: np.ndarray) -> pa.Table:
        quantity = table["quantity"].cast(pa.string())
        return _with(
            table, "quantity", pc.if_else(pa.array(numbers % every == 0), "many", quantity)
        )

    events_csv(folder, rows, changed)


def rejected_customers(folder: Path, rows: int, *, every: int) -> None:
    """Customers of which every so manieth has a word where a number must be."""
    table = customers_of(rows, np.random.default_rng(1))
    bad = pa.array(np.arange(rows) % every == 0)
    table = _with(
        table, "attribute_1", pc.if_else(bad, "many", table["attribute_1"].cast("string"))
    )
    types = '[source.columns]\nattribute_1 = "integer"\n'
    _pipeline(folder, CUSTOMERS + types)
    pa.parquet.write_table(table, folder / "customers.parquet")


def bad_lines(folder: Path, rows: int, *, kind: str) -> None:
    """Events of which every second line has a cell too few, or text behind a closing quote."""
    events_csv(folder, rows)
    path = folder / "events.csv"
    written = path.with_suffix(".tmp")
    with path.open() as lines, written.open("w") as file:
        for number, line in enumerate(lines):
            cells = line.split(",")
            if number % 2 and kind == "shape":
                cells = cells[1:]
            elif number % 2:
                cells[3] = f'"{cells[3]}"s'
            file.write(",".join(cells))
    written.replace(path)


def merged(folder: Path, rows: int, *, rows_each: int) -> None:
    """Customers of so many rows each, far from one another."""
    people = max(rows // rows_each, 1)
    table = pa.table(
        {
            "id": texts("%08d", np.arange(rows) % people),
            "email": texts("%d@example.com", np.arange(rows) % people),
            "plan": pa.array(np.arange(rows) * 7919 % 100),
            "seen": texts("/products/%d", np.arange(rows) % 5000),
            "visits": pa.array(np.arange(rows)),
        }
    )
    _pipeline(folder, CUSTOMERS)
    pa.parquet.write_table(table, folder / "customers.parquet")


def shared_emails(folder: Path, rows: int, *, rows_each: int) -> None:
    """Customers of whom so many share an e-mail address."""
    table = pa.table(
        {
            "id": texts("%08d", np.arange(rows) // 2),
            "email": texts("%d@example.com", np.arange(rows) // (2 * rows_each)),
            "visits": pa.array(np.arange(rows)),
        }
    )
    _pipeline(folder, CUSTOMERS + 'shared_emails = "first"\n')
    pa.parquet.write_table(table, folder / "customers.parquet")


def unknown(folder: Path, rows: int, *, policy: str) -> None:
    """Events of which half are about people whom the customers do not have."""
    people = max(rows // 10, 2)
    table = customers_of(people // 2, np.random.default_rng(1)).select([0, 1, 2])
    pa.parquet.write_table(table, folder / "customers.parquet")
    source = EVENTS.format(file="events.parquet") + f'unknown_people = "{policy}"\n'
    _pipeline(folder, CUSTOMERS + source)
    _parquet(folder, rows, None)


def identical(folder: Path, rows: int, *, every: int) -> None:
    """Events of which every so manieth is the one before it."""

    def changed(table: pa.Table, numbers: np.ndarray) -> pa.Table:
        return table.take((numbers - numbers[0]) // every * every)

    _pipeline(folder, EVENTS.format(file="events.parquet") + 'identical_rows = "keep"\n')
    _parquet(folder, rows, changed)


def years(folder: Path, rows: int, *, csv: bool = False) -> None:
    """Events anywhere in 55 years; in CSV as a wall clock of New York shows them."""
    chance = np.random.default_rng(2)

    def changed(table: pa.Table, numbers: np.ndarray) -> pa.Table:
        micros = chance.integers(YEARS_US, size=len(numbers))
        return _with(table, "at", pa.array(micros, pa.timestamp("us", tz="UTC")))

    def local(table: pa.Table, numbers: np.ndarray) -> pa.Table:
        at = pc.local_timestamp(changed(table, numbers)["at"].cast(_NEW_YORK))
        return _with(
            table, "at", pc.strftime(at.cast(pa.timestamp("s"), safe=False), "%Y-%m-%d %H:%M:%S")
        )

    zone = '{ from = "at", timezone = "America/New_York", ambiguous = "earlier" }'
    text = EVENTS.format(file="events.csv" if csv else "events.parquet")
    early = 'earliest = "1970-01-01"\n'
    if csv:
        _pipeline(folder, text.replace('{ from = "at" }', zone) + early + TYPES)
        _csv(folder / "events.csv", _steps(rows, local))
    else:
        _pipeline(folder, text + early)
        _parquet(folder, rows, changed)


def dates(folder: Path, rows: int, *, form: str, unreadable_every: int = 0) -> None:
    """Events of days, written in this form; every so manieth cannot be read."""

    def changed(table: pa.Table, numbers: np.ndarray) -> pa.Table:
        at = pc.strftime(table["at"], form)
        if unreadable_every:
            at = pc.if_else(pa.array(numbers % unreadable_every == 0), "some day", at)
        return _with(table, "at", at)

    zone = '{ from = "at", timezone = "UTC" }'
    text = EVENTS.format(file="events.csv").replace('{ from = "at" }', zone)
    _pipeline(folder, text + 'delimiter = ";"\nidentical_rows = "keep"\n' + TYPES)
    _csv(folder / "events.csv", _steps(rows, changed, days=12_000), ";")


def json_lines(folder: Path, rows: int, *, kind: str) -> None:
    """Events as objects: the seven columns, two of them nested, or 200 keys more."""
    _pipeline(folder, EVENTS.format(file="events.jsonl"))
    more = {f"key_{at}": at for at in range(200)} if kind == "wide" else {}
    nested = {"device": {"os": "ios", "versions": [1, 2]}, "tags": ["a", "b"]}
    _objects(folder, rows, lambda _: more if kind != "nested" else nested)


def sparse_keys(folder: Path, keys: int) -> None:
    """50,000 events of which each has three of so many keys."""
    _pipeline(folder, EVENTS.format(file="events.jsonl"))
    _objects(folder, 50_000, lambda row: {f"key_{(row * 7 + at) % keys}": row for at in range(3)})


def new_keys(folder: Path, rows: int) -> None:
    """Events of which each has a key that no other has."""
    _pipeline(folder, EVENTS.format(file="events.jsonl"))
    _objects(folder, rows, lambda row: {f"key_{row}": row})


def typed(folder: Path, rows: int, *, kind: str) -> None:
    """Events with a column of another type in Parquet."""

    def changed(table: pa.Table, numbers: np.ndarray) -> pa.Table:
        return table.append_column("more", _TYPED[kind]([int(each) for each in numbers]))

    _pipeline(folder, EVENTS.format(file="events.parquet"))
    _parquet(folder, rows, changed)


def wide(folder: Path, rows: int, *, columns: int, keep: bool = True, csv: bool = False) -> None:
    """Events of so many columns more, of four types."""
    more = customers_of(rows, np.random.default_rng(1), columns).drop_columns("id")
    ids = events_of(0, rows, rows, np.random.default_rng(1)).select(["id", "event", "at"])
    table = pa.table([*ids.columns, *more.columns], [*ids.column_names, *more.column_names])
    file = "events.csv" if csv else "events.parquet"
    others = "" if keep else 'other_columns = "drop"\n'
    _pipeline(folder, EVENTS.format(file=file) + others)
    if csv:
        pa.csv.write_csv(as_written(table), folder / file)
    else:
        pa.parquet.write_table(table, folder / file, row_group_size=SMALL_GROUPS)


def columns(folder: Path, count: int, *, keep: bool = True, csv: bool = False) -> None:
    """1,000 events of so many columns."""
    wide(folder, 1_000, columns=count, keep=keep, csv=csv)


def customers(folder: Path, rows: int, *, attributes: int) -> None:
    """Customers of so many attributes."""
    _pipeline(folder, CUSTOMERS)
    path, chance = folder / "customers.parquet", np.random.default_rng(1)
    first = customers_of(0, chance, attributes)
    with pa.parquet.ParquetWriter(path, first.schema) as writer:
        for begin in range(0, rows, STEP_ROWS):
            count = min(STEP_ROWS, rows - begin)
            writer.write_table(customers_of(count, chance, attributes, begin))


def texts_(folder: Path, rows: int, *, bytes_each: int) -> None:
    """Events with a text of so many bytes."""
    filler = "Lorem ipsum dolor sit amet, " * (bytes_each // 28)

    def changed(table: pa.Table, numbers: np.ndarray) -> pa.Table:
        long = pc.binary_join_element_wise(filler, texts("%d", numbers), "")
        return table.append_column("text", long)

    _pipeline(folder, EVENTS.format(file="events.parquet"))
    _parquet(folder, rows, changed, SMALL_GROUPS)


def files(folder: Path, count: int, *, csv: bool) -> None:
    """So many files of ten events each."""
    suffix = "csv" if csv else "parquet"
    _pipeline(folder, EVENTS.format(file=f"parts/*.{suffix}") + (TYPES if csv else ""))
    (folder / "parts").mkdir()
    every = _small(count)
    for number, table in enumerate(every):
        path = folder / "parts" / f"part-{number}.{suffix}"
        _csv(path, [table]) if csv else pa.parquet.write_table(table, path)


def partitions(folder: Path, count: int) -> None:
    """So many folders `day=…` of one file of ten events each."""
    _pipeline(folder, EVENTS.format(file="days/*/*.parquet"))
    for number, table in enumerate(_small(count)):
        day = folder / "days" / f"day={np.datetime64('2020-01-01') + number}"
        day.mkdir(parents=True)
        pa.parquet.write_table(table, day / "part-0.parquet")


def init_columns(folder: Path, count: int) -> None:
    """A file of 1,000 rows and so many columns, without a pipeline."""
    columns(folder, count, csv=True)
    (folder / "pipeline.toml").unlink()
    (folder / "events.csv").rename(folder / "wide.csv")


_NEW_YORK = pa.timestamp("us", tz="America/New_York")
_PAIR = pa.struct([("sku", pa.string()), ("price", pa.float64())])
_TYPED: dict[str, Callable[[list[int]], pa.Array]] = {
    "decimal": lambda some: pa.array([Decimal(each) / 100 for each in some], pa.decimal128(38, 2)),
    "struct": lambda some: pa.array([{"sku": f"s{n % 99}", "price": n / 4} for n in some], _PAIR),
    "map": lambda some: pa.array(
        [[("a", n), ("b", n % 7)] for n in some], pa.map_(pa.string(), pa.int64())
    ),
    "list": lambda some: pa.array([[n, n % 7, n % 11] for n in some]),
    "structs": lambda some: pa.array(
        [[{"sku": f"s{n % 99}", "price": n / 4}] * 2 for n in some], pa.list_(_PAIR)
    ),
}


def _pipeline(folder: Path, sources: str) -> None:
    (folder / "pipeline.toml").write_text(f'name = "shape"\nrejected_max = "100%"\n{sources}')


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def _steps(rows: int, change: Change | None, *, days: int = 0) -> Any:
    """Events as they are written in CSV, so many at a time."""
    chance = np.random.default_rng(1)
    for first in range(0, rows, STEP_ROWS):
        count = min(STEP_ROWS, rows - first)
        numbers = np.arange(first, first + count)
        table = events_of(first, count, rows, chance)
        if days:
            at = pa.array(FIRST_DAY_US + numbers % days * DAY_US, pa.timestamp("us", tz="UTC"))
            table = _with(table, "at", at)
        else:
            table = as_written(table)
        yield change(table, numbers) if change else table


def _csv(path: Path, tables: Any, delimiter: str = ",") -> None:
    writer = None
    for table in tables:
        table = as_written(table) if pa.types.is_timestamp(table["at"].type) else table  # noqa: PLW2901
        options = pa.csv.WriteOptions(quoting_style="none", delimiter=delimiter)
        writer = writer or pa.csv.CSVWriter(path, table.schema, write_options=options)
        writer.write_table(table)
    writer.close()


def _parquet(folder: Path, rows: int, change: Change | None, group_rows: int = STEP_ROWS) -> None:
    chance, writer = np.random.default_rng(1), None
    for first in range(0, rows, group_rows):
        count = min(group_rows, rows - first)
        table = events_of(first, count, rows, chance)
        table = change(table, np.arange(first, first + count)) if change else table
        path = folder / "events.parquet"
        writer = writer or pa.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def _objects(folder: Path, rows: int, more: Callable[[int], dict[str, Any]]) -> None:
    lines = (row for table in _steps(rows, None) for row in table.to_pylist())
    with (folder / "events.jsonl").open("w") as file:
        for number, line in enumerate(lines):
            file.write(f"{json.dumps(line | more(number))}\n")


def _small(count: int) -> Any:
    chance = np.random.default_rng(1)
    rows = count * ROWS_PER_FILE
    for first in range(0, rows, ROWS_PER_FILE):
        yield events_of(first, ROWS_PER_FILE, rows, chance)


if __name__ == "__main__":
    made, make, size, options = sys.argv[1:]
    globals()["texts_" if make == "texts" else make](Path(made), int(size), **json.loads(options))
