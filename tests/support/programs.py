"""Runs the program as its users do: a process with arguments, a folder and an environment."""

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORKING = Path(__file__).with_name("forking.py")
PATIENCE_S = 90.0
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Args:
        code: The exit code; below 0: the signal that ended it.
        stdout: What it printed.
        stderr: What it said.
        peak_kb: The most memory that it ever had; 0 where nobody looked.
    """

    code: int
    stdout: str
    stderr: str
    peak_kb: int = 0

    @property
    def summary(self) -> dict[str, Any]:
        """What `--json` printed as the last line."""
        return json.loads(self.stdout.splitlines()[-1])

    @property
    def next_step(self) -> str:
        """The last line on stderr: what to do next."""
        last = self.stderr.splitlines()[-1]
        assert last.startswith("next: "), self.stderr
        return last.removeprefix("next: ")


class Command:
    """A command that runs.

    Args:
        pid: Its process id.
        wait: Waits so many seconds for its end; gives the exit code, and the memory at its peak.
        folder: Where its output is.

    `signals` are those that it was sent; `at_end` is called once, with how it ended.
    """

    def __init__(
        self,
        pid: int,
        wait: Callable[[float], tuple[int, int]],
        folder: tempfile.TemporaryDirectory,
    ) -> None:
        self.pid = pid
        self._wait = wait
        self._folder = folder
        self._ended: Ended | None = None
        self.signals: list[int] = []
        self.at_end: Callable[[Ended], None] = lambda _: None

    @property
    def is_running(self) -> bool:
        """Whether nobody has seen its end."""
        return self._ended is None

    @property
    def state(self) -> str:
        """What the system says of it: `R` or `S` while it goes on, `T` stopped, "" ended."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return state.removeprefix("Z")

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self._ended is None:
            self.signals.append(number)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> Ended:
        """Kill it, as the system does when memory is short."""
        self.signal(signal.SIGKILL)
        return self.ended()

    def stderr(self) -> str:
        """What it has said so far."""
        return (Path(self._folder.name) / "stderr").read_text("utf-8")

    def ended(self, timeout_s: float = PATIENCE_S) -> Ended:
        """Wait for its end."""
        if self._ended is None:
            try:
                code, peak_kb = self._wait(timeout_s)
            except TimeoutError:
                said = self.stderr()
                self.kill()
                raise AssertionError(f"still running after {timeout_s} s:\n{said}") from None
            stdout = (Path(self._folder.name) / "stdout").read_text("utf-8")
            self._ended = Ended(code, stdout, self.stderr(), peak_kb)
            self._folder.cleanup()
            self.at_end(self._ended)
        return self._ended


Start = Callable[..., Command]
"""Starts a command: arguments, and by name `cwd`, `env`, the file `stdin` or the open `terminal`
for all three streams, and the `pace` of a lock in a bucket."""


@contextlib.contextmanager
def forking() -> Iterator[Start]:
    """A parent with everything imported; gives a way to start commands from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        parent = subprocess.Popen(
            [sys.executable, str(FORKING), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        with parent:
            assert parent.stdout.readline() == "ready\n"
            yield lambda *arguments, **more: _fork(path, arguments, **more)
            parent.stdin.close()


def _fork(
    path: str,
    arguments: tuple,
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: str = os.devnull,
    terminal: int | None = None,
    pace: tuple[float, ...] = (),
) -> Command:
    folder = tempfile.TemporaryDirectory()
    request = {"arguments": [*map(str, arguments)], "cwd": str(cwd), "env": dict(env), "pace": pace}
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    with _streams(folder.name, stdin) as streams:
        numbers = array.array("i", [each.fileno() for each in streams])
        if terminal is not None:
            numbers = array.array("i", [terminal] * len(streams))
        connection.sendmsg(
            [json.dumps(request).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
        )
    answers = connection.makefile("rb", buffering=0)  # `select` sees no buffer

    def wait(timeout_s: float) -> tuple[int, int]:
        ready, _, _ = select.select([connection], [], [], timeout_s)
        if not ready:
            raise TimeoutError
        with connection, answers:
            code, peak_kb = answers.readline().split()
            return int(code), int(peak_kb)

    return Command(int(answers.readline()), wait, folder)


@contextlib.contextmanager
def _streams(folder: str, stdin: str) -> Iterator[list]:
    with contextlib.ExitStack() as stack:
        files = [(stdin, "rb"), (f"{folder}/stdout", "wb"), (f"{folder}/stderr", "wb")]
        yield [stack.enter_context(Path(name).open(mode)) for name, mode in files]


def stat_of(pid: int) -> list[str]:
    """What the system says of a process, from its state on; `Z` where it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return ["Z", "0"]


def children(pid: int) -> list[int]:
    """The processes that another one has started, but for a helper of Python's own."""
    every = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    mine = [each for each in every if stat_of(each)[1] == str(pid) and stat_of(each)[0] != "Z"]
    # A spawned process has one; it ends a little later.
    return [each for each in mine if b"resource_tracker" not in _command_line(each)]


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"resource_tracker"


def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Wait until something is so, and give it."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(_PAUSE_S)
    return found
