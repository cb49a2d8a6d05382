"""What other libraries load in passing, and our commands leave out: nothing of ours needs it.

    pandas       Arrow loads it for its first array: 0.18 of the 0.74 s that `backfill check` of
                 ten rows takes then. Only a transform gets it
    httpx._main  httpx's own command line, with rich and pygments behind it
    authorities  aiohttp reads all certificate authorities twice: 0.05 of the 0.7 s of a short run

All are optional to those who load them. A process that imports the library is left alone.

A finder is the one way: Arrow has no switch for it, and `sys.modules["pandas"] = None`, the usual
way to forbid an import, makes it fail (Cython hands it the None).
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

_left_out = {"pandas", "httpx._main"}


class _LeftOut:
    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Say of these modules that they are not there; of others nothing."""
        del path, target
        if fullname in _left_out:
            raise ModuleNotFoundError(f"{fullname} is left out of this process", name=fullname)


def leave_out() -> None:
    """Let nothing load what our commands do not need."""
    sys.meta_path.insert(0, _LeftOut)


@contextmanager
def without_authorities() -> Iterator[None]:
    """Let a module that makes TLS contexts while it is loaded find no certificate authorities.

    For modules whose contexts nobody uses: they would trust no server. In another's process it
    does nothing, since a thread of theirs may be making a context at the same time.
    """
    if _LeftOut not in sys.meta_path:
        yield
        return
    import ssl  # noqa: PLC0415  # a look at the files needs none

    name = "set_default_verify_paths"
    setattr(ssl.SSLContext, name, lambda _: None)  # before that of its base, written in C
    try:
        yield
    finally:
        delattr(ssl.SSLContext, name)


def with_pandas() -> None:
    """Let pandas be loaded as ever, and Arrow know of it: it asks only once by itself."""
    import pyarrow as pa  # noqa: PLC0415  # `leave_out` comes before all that is heavy

    _left_out.discard("pandas")
    pa.nulls(0).to_pandas()  # this asks again, whatever the first array was told
