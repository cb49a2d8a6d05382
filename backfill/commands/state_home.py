"""Where a command finds a job's state: on this machine's disk, or brought here from a bucket."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backfill.engine.options import Options, Stop
from backfill.job import state_url
from backfill.pipeline.file import Pipeline

if TYPE_CHECKING:  # nothing of it is needed where the state is on a disk
    from backfill.remote_state.lease import Pace

PACE: "Pace | None" = None
"""How often a lock in a bucket is written, if not as usual."""


@contextmanager
def at_hand(
    pipeline: Pipeline,
    options: Options | None,
    stop: Stop,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Options]:
    """Have a job's state on this machine while the body runs; afterwards it is where it belongs.

    Args:
        pipeline: The settings.
        options: How the command was asked for.
        stop: Asks it to stop.
        say: Shows a sentence.

    Yields:
        The options to go on with: their `state_dir` is a folder.

    Raises:
        BackfillError: As for `backfill.remote_state.keeper.brought_here`.
    """
    asked = options or Options()
    url = state_url(pipeline, asked.state_dir)
    if url is None:
        yield asked
        return
    from backfill.remote_state.keeper import brought_here  # noqa: PLC0415

    with brought_here(url, pipeline, asked, stop, say=say, pace=PACE) as here:
        yield here
