"""Runs the program in a terminal of some width, and keeps what the screen showed."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
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


def in_terminal(
    *command: str, columns: int, cwd: Path, env: Mapping[str, str], typed: str = ""
) -> Shown:
    """Run a program to its end in a terminal that is so wide; `typed` waits in its keyboard."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
    os.write(ours, typed.encode())
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env={**env, "TERM": "xterm", "LANG": "C.UTF-8"},
    ) as child:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # Linux says EIO when the last writer has gone
            while data := os.read(ours, 65_536):
                written += data
        os.close(ours)
    return Shown(child.returncode, written.decode())
