"""What the delivery tests share: small batches."""

from bisect import bisect_left

import numpy as np
import orjson
import pyarrow as pa

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
