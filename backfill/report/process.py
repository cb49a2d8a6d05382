"""Whether the process that wrote a file is still there.

A number alone does not say so: once a process has ended, another may get its number. Where the
system tells when a process began (Linux, in /proc), that has to agree.
"""

import os
from pathlib import Path
from typing import TypedDict

_STATE, _BEGAN = 0, 19
"""Places in /proc/PID/stat behind the process's name: proc(5)."""


class Process(TypedDict):
    """A process as it is written down: its number, and `began_ticks` of it."""

    pid: int
    began_ticks: int | None


def this_process() -> Process:
    """The one that asks."""
    return {"pid": os.getpid(), "began_ticks": began_ticks(os.getpid())}


def began_ticks(pid: int) -> int | None:
    """When a process began, in ticks since the system did.

    0 for one that has ended and whose parent did not notice; None where the system does not tell.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return 0 if fields[_STATE] == "Z" else int(fields[_BEGAN])


def is_there(pid: int, began: int | None) -> bool:
    """Whether the process of this number is there, and the one that began then.

    Args:
        pid: Its number.
        began: `began_ticks`, when it asked about itself.
    """
    found = began_ticks(pid)
    if began is not None and found is not None:
        return found == began
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, but there
    return True
