"""Arrow, with pandas only where it is needed: it takes a quarter of a second to load.

Arrow loads pandas for its first array, wherever pandas can be found, and asks only once. In a
process of our own nobody else wants it but a transform, which calls `with_pandas` before anything
of the user's is loaded. A process that imports the library is left alone.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType


class _NoPandas:
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Say of pandas that it is not there; of others nothing."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out of this process so far", name=fullname)


_NO_PANDAS = _NoPandas()


def without_pandas() -> None:
    """Let nothing load pandas in this process before somebody calls `with_pandas`."""
    sys.meta_path.insert(0, _NO_PANDAS)


def with_pandas() -> None:
    """Let pandas be loaded as ever, and Arrow know of it."""
    import pyarrow as pa  # noqa: PLC0415  # the command line calls the other one before it loads it

    with suppress(ValueError):  # nobody has left it out
        sys.meta_path.remove(_NO_PANDAS)
    pa.nulls(0).to_pandas()  # this asks again, whatever the first array was told
