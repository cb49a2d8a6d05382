"""What no program of this kind can go below, each by itself: `python floors.py WHAT [FILE]`.

imports  the libraries that a run needs, and nothing else
read     the rows of FILE, as Arrow columns
join     the same, and one JSON text of each row by Arrow's join kernel
ids      the same, and a BLAKE2b of each text: what an event's id takes
"""

import sys
from hashlib import blake2b
from importlib import import_module

LIBRARIES = (
    "numpy",
    "pyarrow.compute",
    "pyarrow.parquet",
    "pydantic",
    "typer",
    "orjson",
    "apsw",
    "aiohttp",
    "jinja2",
)
BATCH_ROWS = 65_536
DIGEST_BYTES = 10


def imports() -> None:
    """Import them."""
    for name in LIBRARIES:
        import_module(name)


def rows(file: str, *, join: bool = False, ids: bool = False) -> None:
    """Read them, in one thread; join their columns; make ids of them."""
    import pyarrow as pa  # noqa: PLC0415  # what `imports` measures
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(BATCH_ROWS):
        if not (join or ids):
            continue
        texts = [pc.cast(each, pa.string()) for each in batch.columns]
        openings = [f'"{name}":' for name in batch.schema.names]
        members = [
            pc.binary_join_element_wise(opening, text, "")
            for opening, text in zip(openings, texts, strict=True)
        ]
        joined = pc.binary_join_element_wise(*members, ",", null_handling="skip")
        if ids:
            for each in joined.cast(pa.binary()).to_numpy(zero_copy_only=False):
                blake2b(each, digest_size=DIGEST_BYTES).digest()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["imports"]:
            imports()
        case ["read", file]:
            rows(file)
        case ["join", file]:
            rows(file, join=True)
        case ["ids", file]:
            rows(file, ids=True)
