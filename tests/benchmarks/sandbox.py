"""How fast the sandbox takes events, and how long a segment takes over ten million of them.

    python tests/benchmarks/sandbox.py [--events 10000000] [--data FOLDER]

The sandbox is a process of its own; its CPU seconds are what "on one core" means. On a machine
that does other things, only the CPU figures say something.
"""

import argparse
import base64
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import orjson

PER_REQUEST = 2_000
PEOPLE = 100_000
NAMES = ("purchased", "viewed", "signed_up", "created_project", "opened")
NOW_S = int(time.time())
SEGMENTS = [
    {"event": {"name": "purchased", "within_days": 30}},
    {"event": {"name": "created_project", "performed": False, "within_days": 30}},
    {"event": {"name": "purchased", "at_least": 3, "where": {"price": {"gt": 50}}}},
]


def event(index):
    """An event; ids, people and moments spread over three years."""
    mixed = index * 2_654_435_761 % 2**32
    return {
        "type": "person",
        "action": "event",
        "identifiers": {"id": f"customer-{mixed % PEOPLE}"},
        "name": NAMES[mixed % len(NAMES)],
        "id": f"{index:026d}",
        "timestamp": NOW_S - mixed % (3 * 365 * 86_400),
        "attributes": {"price": mixed % 100, "sku": f"sku-{mixed % 1000}"},
    }


class Sandbox:
    """A sandbox as a process, and one connection to it."""

    def __init__(self, data):
        command = [sys.executable, "-m", "backfill.sandbox", "--port", "0"]
        options = ["--data", data] if data else []
        self.process = subprocess.Popen(command + options, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[1]
        split = urlsplit(self.url)
        self._connection = socket.create_connection((split.hostname, split.port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path, body):
        """One request as cheap as can be; it must be accepted."""
        key = base64.b64encode(b"sandbox:sandbox").decode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {key}\r\n"
        content = orjson.dumps(body)
        self._connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = b""
        while not answer.endswith(b"{}\n"):
            answer += self._connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200")

    def cpu_s(self):
        """CPU seconds that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self):
        """Its memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6


def measured(sandbox, name, count, requests):
    """Print how many a second, by the sandbox's CPU."""
    before_s = sandbox.cpu_s()
    for path, body in requests:
        sandbox.post(path, body)
    print(f"{name:<44}{count / (sandbox.cpu_s() - before_s):>12,.0f} per CPU second")


def main():
    """Fill a sandbox and ask it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--data")
    options = parser.parse_args()
    sandbox = Sandbox(options.data)
    try:
        single = [(f"/api/v1/customers/{i}/events", {"name": "x", "data": {}}) for i in range(3000)]
        measured(sandbox, "v1, one event a request", len(single), single)
        batches = (
            ("/api/v2/batch", {"batch": [event(i) for i in range(first, first + PER_REQUEST)]})
            for first in range(0, options.events, PER_REQUEST)
        )
        measured(sandbox, f"v2, {PER_REQUEST:,} events a request", options.events, batches)
        print(f"{'memory':<44}{sandbox.memory_mb():>12,.0f} MB")
        for condition in SEGMENTS:
            began = time.monotonic()
            answer = httpx.post(f"{sandbox.url}/sandbox/segments", json=condition, timeout=60)
            count = answer.json()["count"]
            took_s = time.monotonic() - began
            print(f"segment of {count:>9,} people{'':<17}{took_s:>12.2f} s  {condition}")
    finally:
        sandbox.process.terminate()
        sandbox.process.wait()


if __name__ == "__main__":
    main()
