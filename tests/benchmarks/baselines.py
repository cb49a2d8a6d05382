"""How else people send events, for comparison: `python baselines.py KIND FILE.parquet URL ROWS`.

client   the official client, one request an event, 20 threads
batch    the official client's batches of 100 events, 20 threads
script   pandas, to_dict, httpx and asyncio.gather, as one would write it in an afternoon

None of them checks a row, remembers what was sent, or tries again in a way that ends well.
"""

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pandas as pd
from customerio import CustomerIO

THREADS = 20
PER_CALL = 100


def _client(url: str) -> CustomerIO:
    client = CustomerIO("site", "key")
    client.base_url = f"{url}/api/v1"  # the client itself speaks nothing but https
    return client


def _attributes(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in ("id", "event", "at")}


def _operation(row: dict[str, object]) -> dict[str, object]:
    return {
        "type": "person",
        "action": "event",
        "identifiers": {"id": row["id"]},
        "name": row["event"],
        "timestamp": int(row["at"].timestamp()),
        "attributes": _attributes(row),
    }


def _calls(rows: list[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    for start in range(0, len(rows), PER_CALL):
        yield [_operation(row) for row in rows[start : start + PER_CALL]]


def by_client(rows: list[dict[str, object]], url: str) -> None:
    """One request an event."""
    client = _client(url)

    def send(row: dict[str, object]) -> None:
        client.track(row["id"], row["event"], _attributes(row), timestamp=row["at"])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, rows))


def by_batch(rows: list[dict[str, object]], url: str) -> None:
    """What `CustomerIO.batch` does, but for the https in its address."""
    client = _client(url)

    def send(operations: list[dict[str, object]]) -> None:
        client.send_request("POST", f"{url}/api/v2/batch", {"batch": operations})

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, _calls(rows)))


def by_script(rows: list[dict[str, object]], url: str) -> None:
    """Batches of 100 events, 20 at a time."""

    async def send_all() -> None:
        places = asyncio.Semaphore(THREADS)
        async with httpx.AsyncClient(auth=("site", "key")) as client:

            async def send(operations: list[dict[str, object]]) -> None:
                async with places:
                    answer = await client.post(f"{url}/api/v2/batch", json={"batch": operations})
                    answer.raise_for_status()

            await asyncio.gather(*(send(each) for each in _calls(rows)))

    asyncio.run(send_all())


if __name__ == "__main__":
    kind, file, url, count = sys.argv[1:]
    events = pd.read_parquet(file).head(int(count)).to_dict("records")
    {"client": by_client, "batch": by_batch, "script": by_script}[kind](events, url)
