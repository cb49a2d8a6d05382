"""What the delivery tests share: small batches, and the real delivery in virtual time."""

import asyncio
import random
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from backfill.delivery.outcome import Meter, Pause
from backfill.delivery.pacing import RateLimitedTransport, Time
from backfill.delivery.track_delivery import TrackDelivery
from backfill.operations.batches import Batch, Segment
from backfill.operations.encode import Operations

KEY_LOOK_UP = "/api/v1/accounts/region"


def worst_second(times: list[float]) -> int:
    """The most turns in any second, its end excluded."""
    return max((bisect_left(times, t + 1.0 - 1e-4) - i for i, t in enumerate(times)), default=0)


def batch_of(count: int, first: int = 0) -> Batch:
    """A v2 batch of `count` operations numbered from `first`."""
    texts = [orjson.dumps({"number": first + i}).decode() + "," for i in range(count)]
    operations = Operations(np.arange(count), pa.array(texts))
    return Batch("POST", "/api/v2/batch", (Segment(operations, 0, count),))


def single(path: str, method: str = "POST", body: str = "{},") -> Batch:
    """A v1 request of one operation."""
    operations = Operations(np.arange(1), pa.array([body]), paths=pa.array([path]), method=method)
    return Batch(method, path, (Segment(operations, 0, 1),), single=True)


def delivery_to(
    service: Any,
    *,
    rate: float = 0,
    concurrency: int | None = None,
    outage_max_s: float = 900,
    on_pause: Callable[[Pause], None] = lambda _: None,
) -> TrackDelivery:
    """The real delivery over a service that is a function."""
    dice = random.Random(1)
    time = Time(asyncio.get_running_loop().time, asyncio.sleep, dice.random)
    meter = Meter(on_pause)
    paced = RateLimitedTransport(
        service, rate=rate, concurrency_max=concurrency, time=time, meter=meter
    )
    return TrackDelivery(paced, service, time, meter=meter, outage_max_s=outage_max_s)
