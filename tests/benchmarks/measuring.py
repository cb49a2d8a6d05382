"""A process run to its end, and what it took; a server beside it that only answers."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

HERE = Path(__file__).parent
BACKFILL = [sys.executable, "-m", "backfill"]
STATE = ".backfill"
STOPPED = -9
_TOLD_CHARACTERS = 2_000


@dataclass
class Measured:
    """What one process took: seconds, CPU seconds, peak MB; and what the server has seen."""

    seconds: float
    cpu_s: float
    peak_mb: float
    requests: int = 0
    bytes: int = 0
    first_request_s: float = 0.0
    sending_s: float = 0.0


@contextmanager
def answering(folder: Path, delay_s: float = 0.0, refused_every: int = 0) -> Iterator[str]:
    """The URL of a server that answers, after so long.

    Args:
        folder: Where it says which port it has.
        delay_s: How long each answer takes.
        refused_every: Every so manieth operation is refused, by a 207; 0: none.
    """
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    script = HERE / "answering.py"
    command = [sys.executable, script, port_file, str(delay_s), str(refused_every)]
    with subprocess.Popen(command) as server:
        try:
            while not (port_file.exists() and port_file.read_text()):
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port_file.read_text()}"
        finally:
            server.terminate()


def counted(url: str) -> dict[str, float]:
    """What the server has seen since the last time."""
    with urllib.request.urlopen(f"{url}/counted") as answer:
        return json.load(answer)


def measure(
    command: list[str],
    folder: Path,
    url: str,
    *,
    exits: Sequence[int] = (0,),
    limit_s: float | None = None,
) -> Measured | None:
    """Run a process to its end; None: it did not end in time.

    Args:
        command: What is run.
        folder: Where.
        url: The server's.
        exits: The exit codes that it may have.
        limit_s: It is stopped after so many seconds.
    """
    counted(url)
    began_s = time.time()
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        timer = Timer(limit_s or 0, process.kill)
        if limit_s:
            timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        seconds = time.time() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)
        seen = counted(url)
        if process.returncode == STOPPED:
            return None
        if process.returncode not in exits:
            said.seek(0)
            told = said.read()[-_TOLD_CHARACTERS:].decode(errors="replace")
            sys.exit(f"{command}: {process.returncode}\n{told}")
    return Measured(
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1000,
        seen["requests"],
        seen["bytes"],
        max(seen["first_s"] - began_s, 0.0),
        seen["last_s"] - seen["first_s"],
    )


def machine() -> str:
    """Where it was measured."""
    processors = Path("/proc/cpuinfo")
    models = processors.read_text().splitlines() if processors.exists() else []
    model = next((each.split(": ")[1] for each in models if each.startswith("model name")), "")
    processor = f"{os.cpu_count()} x {model or platform.machine()}"
    return f"{processor}, {platform.system()}, Python {platform.python_version()}"
