"""`python -m backfill`, and the `backfill` command."""

import atexit
import ctypes
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from backfill.judge.optional_imports import leave_out


def main() -> NoReturn:
    """Do what the command line asks, and exit as the design's table of exit codes says."""
    # Arrow's own pool keeps what each of our threads once needed: 70 MB more, and no faster.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    _share_heaps()
    # Nothing here multiplies matrices: threads made ready for it cost a tenth of a second.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Plugins of pydantic are looked for among all that is installed; none is wanted here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Columns leave no cycles behind: at the usual 700 a fifth of a start is spent looking for some.
    # A start makes some 140,000 objects that stay.
    gc.set_threshold(200_000)
    leave_out()
    ended: list[int] = []
    atexit.register(_leave, ended)  # the first to be registered is the last to be called
    from backfill.cli.app import main as command_line  # noqa: PLC0415  # `import backfill` is fast

    ended.append(command_line(sys.argv[1:]))
    sys.exit(ended[0])


_M_ARENA_MAX = -8  # malloc.h of glibc
_HEAPS = 4


def _share_heaps() -> None:
    """Let all threads allocate from a few heaps of the C library, where it has many.

    Each thread's own keeps what the thread once needed: of ten million rows of a database, 20 MB
    to 60 MB for nothing. Waits for one another were not found to cost anything.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, _HEAPS)


def _leave(ended: list[int]) -> None:
    """End the process once all that it was to write is written, and its threads have ended.

    To take the interpreter down, object by object, is a twentieth of a short call.
    """
    with suppress(OSError, ValueError):  # the interpreter tries again, and says what is wrong
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed from the start
            stream.flush()
        for code in ended:
            os._exit(code)


if __name__ == "__main__":
    main()
