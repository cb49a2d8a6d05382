"""Ctrl-C and SIGTERM: once, what is under way is finished; twice, all stops at once."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from backfill.errors import BackfillError, ExitCode, InterruptedRunError

NEXT_STEP = "run the same command again to resume"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def obeyed(
    stop: Callable[[BackfillError], None], last_words: Callable[[ExitCode], bytes]
) -> Iterator[None]:
    """Turn signals into a stop.

    Args:
        stop: Asks for an orderly end.
        last_words: What stdout still gets at a sudden end.
    """
    asked = False

    def obey(number: int, _: FrameType | None) -> None:
        nonlocal asked
        code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        if asked:
            _say(f"\nstopped at once\nnext: {NEXT_STEP}\n")
            os.write(1, last_words(code))
            os._exit(code)
        asked = True
        _say("\nstopping: waiting for requests in flight; press again to stop at once\n")
        why = InterruptedRunError(
            "interrupted" if number == signal.SIGINT else "terminated",
            next_step=NEXT_STEP,
            terminated=number == signal.SIGTERM,
        )
        with contextlib.suppress(RuntimeError):  # the event loop may just have ended by itself
            stop(why)

    before = {each: signal.signal(each, obey) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let Ctrl-C end what waits for a person's answer."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _say(text: str) -> None:
    # A signal may come in the middle of a write to sys.stderr, which must not be entered twice.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
