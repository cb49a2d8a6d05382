"""Runs the program in a terminal of some width, and keeps what the screen showed."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    *command: object,
    columns: int,
    cwd: Path,
    env: Mapping[str, str],
    typed: str = "",
    script: Sequence[Then] = (),
) -> Shown:
    """Run a program to its end in a terminal that is so wide.

    Args:
        command: The arguments of the interpreter.
        columns: How wide the terminal is.
        cwd: The folder.
        env: The environment; without `TERM` it is an xterm's.
        typed: What waits in the keyboard from the beginning.
        script: What happens at the terminal, in order.
    """
    ours, theirs = pty.openpty()
    _resize(ours, columns)
    os.write(ours, typed.encode())
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env={"TERM": "xterm", **env, "LANG": "C.UTF-8"},
    ) as child:
        os.close(theirs)
        written = _played(ours, script)
        os.close(ours)
    return Shown(child.returncode, written.decode())


def _played(ours: int, script: Sequence[Then]) -> bytes:
    """All that is written to a terminal, while the script is followed."""
    written, awaited, read_to = b"", list(script), 0
    with contextlib.suppress(OSError):  # Linux says EIO when the last writer has gone
        while data := os.read(ours, 65_536):
            written += data
            while awaited and (at := written.find(awaited[0].seen.encode(), read_to)) >= 0:
                then = awaited.pop(0)
                read_to = at + len(then.seen.encode())
                _resize(ours, then.columns)
                os.write(ours, then.typed.encode())
    assert not awaited, f"never seen: {awaited[0].seen!r} in {written.decode()}"
    return written


def _resize(terminal: int, columns: int | None) -> None:
    if columns is not None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
