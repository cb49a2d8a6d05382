"""The sandbox as a process of its own, and what it knows of what arrived."""

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

REGION = "/api/v1/accounts/region"
BATCH = "/api/v2/batch"
_PAGE = 10_000
WATCHED = Path(__file__).with_name("watched_sandbox.py")
_PLAIN = {"verify": False, "timeout": 60}
"""It speaks plain HTTP; to get ready for TLS all the same takes 30 ms a request."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A sandbox that somebody else runs.

    Args:
        url: Where it is.
        pid: Its process id.
        watched: The file that takes what is sent and the published description does not allow.
    """

    url: str
    pid: int
    watched: Path | None = None

    def reset(self) -> None:
        """Forget all that came, and every fault; the environment id stays."""
        httpx.post(f"{self.url}/sandbox/reset", **_PLAIN).raise_for_status()

    def check_schema(self) -> None:
        """All that was sent here must be as the published description says."""
        said = self.watched.read_text("utf-8") if self.watched else ""
        assert not said, f"not as the API's description says:\n{said}"

    def misbehave(self, *faults: dict[str, Any], seed: int = 1) -> None:
        """Put a script of faults in force; requests count from 1 again."""
        script = {"seed": seed, "faults": faults}
        httpx.post(f"{self.url}/sandbox/faults", json=script, **_PLAIN).raise_for_status()

    def faults(self) -> list[dict[str, Any]]:
        """The faults of the script, each with how often it has `fired`."""
        return self._get("faults")["faults"]

    def fired(self) -> list[int]:
        """How often each fault of the script has happened."""
        return [each["fired"] for each in self.faults()]

    def stats(self) -> dict[str, int]:
        """The counters."""
        return self._get("stats")

    def breakdown(self) -> dict[str, Any]:
        """The counters by kind and outcome."""
        return self._get("breakdown")

    def people(self) -> dict[str, dict[str, Any]]:
        """Everyone, by id or, for those without, by e-mail; as they were sent."""
        return {each["id"] or each["email"]: as_sent(each) for each in self._pages("people")}

    def profiles(self) -> list[dict[str, Any]]:
        """Everyone by themselves, with devices, segments and relationships."""
        return [self._get(f"people/{each['id']}") for each in self._pages("people")]

    def events(self) -> list[dict[str, Any]]:
        """All that is kept, by arrival."""
        return list(self._pages("events"))

    def objects(self) -> dict[str, dict[str, Any]]:
        """Every object by its type and id, such as `1:acme`."""
        return {each["object"]: each for each in self._pages("objects")}

    def arrivals(self) -> list[dict[str, Any]]:
        """Every operation that came, refused and repeated ones too, in order."""
        return list(self._pages("arrivals"))

    def _pages(self, name: str) -> Iterator[dict[str, Any]]:
        after: int | None = 0
        while after is not None:
            page = self._get(f"{name}?limit={_PAGE}&after={after}")
            yield from page[name]
            after = page["next"]

    def _get(self, path: str) -> Any:
        return httpx.get(f"{self.url}/sandbox/{path}", **_PLAIN).raise_for_status().json()


def as_sent(person: dict[str, Any]) -> dict[str, Any]:
    """A person without the `created_at` that the service puts where none was sent."""
    if person["created_at_stamped"]:
        del person["attributes"]["created_at"]
    return person


@contextlib.contextmanager
def workspace(*, port: int = 0, data: Path | None = None) -> Iterator[Workspace]:
    """Run a sandbox; its end is a kill, after which what was sent is held to the schema."""
    with tempfile.NamedTemporaryFile(prefix="watched-") as file:
        command = [sys.executable, str(WATCHED), file.name, "--port", str(port)]
        command += ["--data", str(data)] if data else []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                url = child.stdout.readline().split()[1]
                running = Workspace(url, child.pid, Path(file.name))
                yield running
            finally:
                child.kill()  # what was answered is in its log, whenever it ends
        running.check_schema()


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
