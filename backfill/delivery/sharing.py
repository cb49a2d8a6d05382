"""One rate for all processes of a user that send to one workspace from this machine.

When the next turn is, stands in a small file that is locked (`flock`) while it is looked at; the
kernel takes the lock back however its holder ends. All processes of a machine read the same
monotonic clock.
"""

import fcntl
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backfill.delivery.pacing import Pacer
from backfill.files import PRIVATE_DIRECTORY, PRIVATE_FILE

BUSY_S = 0.001
"""How long to leave a file alone that somebody else is looking at."""

FUTURE_MAX_S = 60.0
_MOMENT = struct.Struct("<d")
_OPEN_OR_CREATE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def turns_file(workspace: str, folder: Path | None = None) -> Path:
    """The file that all processes of this user share toward a workspace.

    Args:
        workspace: The workspace's name, fit for a file's.
        folder: Where it is; None: a folder of the user's own among the machine's temporary ones,
            which is the same for a shell and for cron.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"backfill-{os.getuid()}"
    return folder / f"{workspace}.turn"


class SharedPacer:
    """A pacer whose turns are also those of other processes.

    Without the file (a full disk, a folder of somebody else's) each process keeps its own rate.

    Args:
        pacer: This process's own; it holds whatever the file says.
        path: From `turns_file`.
    """

    def __init__(self, pacer: Pacer, path: Path) -> None:
        self._pacer = pacer
        self._path = path

    def take(self, now_s: float, rate: float) -> float:
        """As `Pacer.take`; what is no limit is not shared."""
        if rate <= 0:
            return self._pacer.take(now_s, rate)
        try:
            return self._take_shared(now_s, rate)
        except OSError:
            return self._pacer.take(now_s, rate)

    def pause(self, until_s: float) -> None:
        """As `Pacer.pause`, for this process."""
        self._pacer.pause(until_s)

    def is_paused(self, now_s: float) -> bool:
        """As `Pacer.is_paused`."""
        return self._pacer.is_paused(now_s)

    def _take_shared(self, now_s: float, rate: float) -> float:
        with _opened(self._path) as file:
            try:
                # Never wait for it: that would stop the event loop, and all requests with it.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return BUSY_S
            # One byte more than a record has: a longer file is not ours.
            self._pacer.wait_for(next_turn(os.pread(file, _MOMENT.size + 1, 0), now_s))
            wait_s = self._pacer.take(now_s, rate)
            if wait_s <= 0:
                os.pwrite(file, _MOMENT.pack(self._pacer.next_s), 0)
                os.truncate(file, _MOMENT.size)
            return wait_s


def next_turn(record: bytes, now_s: float) -> float:
    """When the others' next turn is, from what the file holds; what cannot be true is never.

    The clock begins anew with the machine, and then a moment that was written before lies far
    ahead.
    """
    if len(record) != _MOMENT.size:
        return float("-inf")
    (next_s,) = _MOMENT.unpack(record)
    return next_s if next_s <= now_s + FUTURE_MAX_S else float("-inf")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The file, opened anew each time: somebody may have cleaned up meanwhile."""
    path.parent.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
    # The folder is among everybody's temporary files: a link or a stranger's is refused.
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{path.parent} is accessible to other users")
    descriptor = os.open(path, _OPEN_OR_CREATE, PRIVATE_FILE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
