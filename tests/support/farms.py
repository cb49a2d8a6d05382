"""A cluster on this machine whose scheduler and workers are processes that can be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.workspaces import free_port


class Farm:
    """A scheduler and two workers.

    Args:
        env: Their environment.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self.address = ""
        self.processes: list[subprocess.Popen] = []

    def start(self) -> None:
        """Start all of it, at a new address."""
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        options = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show")
        self.processes = [self._started("scheduler", *options)]
        self.processes += [self._worker(), self._worker()]

    def _worker(self) -> subprocess.Popen:
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "30")
        return self._started("worker", self.address, *options)

    def _started(self, what: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments],
            env=self._env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill_worker(self) -> None:
        """Kill one, and start another."""
        _kill(self.processes.pop())
        self.processes.append(self._worker())

    def kill(self) -> None:
        """Kill the scheduler, and its workers with it."""
        for each in self.processes:
            _kill(each)


def _kill(process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def farm(env: dict[str, str]) -> Iterator[Farm]:
    """A cluster that runs; at the end it is killed."""
    made = Farm(env)
    made.start()
    try:
        yield made
    finally:
        made.kill()
