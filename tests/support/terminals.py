"""Runs the program in a terminal of some width, and keeps what the screen showed."""

import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.support.programs import Command

_ROWS = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """What a terminal showed.

    Args:
        code: The exit code.
        text: Everything that was written to it.
    """

    code: int
    text: str

    @property
    def frames(self) -> list[str]:
        """Each state of each line, in order."""
        lines = self.text.replace("\r\n", "\n").split("\n")
        return [frame.rstrip() for line in lines for frame in line.split("\r") if frame.strip()]

    def drawn(self, phase: str) -> list[str]:
        """The states of a bar."""
        return [frame for frame in self.frames if frame.startswith(f"{phase} ")]


@dataclass(frozen=True, slots=True)
class Then:
    """What happens at the terminal once something has appeared on it.

    Args:
        seen: What has to appear, behind what the one before waited for.
        typed: What is typed then.
        columns: How wide the terminal becomes then; None: as it was.
    """

    seen: str
    typed: str = ""
    columns: int | None = None


def in_terminal(
    start: Callable[[int], Command], *, columns: int, typed: str = "", script: Sequence[Then] = ()
) -> Shown:
    """Run a command to its end in a terminal that is so wide.

    Args:
        start: Starts it at the terminal that is open under a number.
        columns: How wide the terminal is.
        typed: What waits in the keyboard from the beginning.
        script: What happens at the terminal, in order.
    """
    ours, theirs = _terminal(columns, typed)
    command = start(theirs)
    os.close(theirs)
    written = _played(ours, script)
    return Shown(command.ended().code, written.decode())


def at_terminal(act: Callable[[], object], *, columns: int, typed: str = "") -> Shown:
    """Do something in this process, whose streams are a terminal meanwhile."""
    ours, theirs = _terminal(columns, typed)
    with (
        pytest.MonkeyPatch.context() as patch,
        open(theirs, closefd=False) as keyboard,  # open already
        open(theirs, "w", buffering=1) as screen,  # noqa: PTH123
    ):
        patch.setattr(sys, "stdin", keyboard)
        patch.setattr(sys, "stdout", screen)
        patch.setattr(sys, "stderr", screen)
        act()
    return Shown(0, _played(ours, ()).decode())


def _terminal(columns: int, typed: str) -> tuple[int, int]:
    """Our end and that of the program."""
    ours, theirs = pty.openpty()
    _resize(ours, columns)
    os.write(ours, typed.encode())
    return ours, theirs


def _played(ours: int, script: Sequence[Then]) -> bytes:
    """All that is written to a terminal until its end, while the script is followed."""
    written, awaited, read_to = b"", list(script), 0
    with contextlib.suppress(OSError):  # Linux says EIO when the last writer has gone
        while data := os.read(ours, 65_536):
            written += data
            while awaited and (at := written.find(awaited[0].seen.encode(), read_to)) >= 0:
                then = awaited.pop(0)
                read_to = at + len(then.seen.encode())
                _resize(ours, then.columns)
                os.write(ours, then.typed.encode())
    os.close(ours)
    assert not awaited, f"never seen: {awaited[0].seen!r} in {written.decode()}"
    return written


def _resize(terminal: int, columns: int | None) -> None:
    if columns is not None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
