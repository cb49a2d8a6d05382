"""How fast the sandbox takes events, and how long a segment takes over ten million of them.

    python tests/benchmarks/sandbox.py [--events 10000000] [--data FOLDER]

prints three figures, each beside what is asked of it: v1 single events and v2 batches of 2,000 a
second, and the slowest of three segments over all events. The sandbox is a process of its own. "by
the clock" is the time from a request to its answer, over one connection; "by CPU" are the CPU
seconds of the sandbox, which is what "on one core" means. On a machine that does other things, only
the latter say something, and they come out too low.
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
    """An event; ids, people and timestamps spread over three years."""
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
        """One request as cheap as can be, which must be accepted; how long the answer took."""
        key = base64.b64encode(b"sandbox:sandbox").decode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {key}\r\n"
        content = orjson.dumps(body)
        request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        began = time.monotonic()
        self._connection.sendall(request)
        answer = b""
        while not answer.endswith(b"{}\n"):
            answer += self._connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200")
        return time.monotonic() - began

    def cpu_s(self):
        """CPU seconds that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self):
        """Its memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6


def measured(sandbox, name, asked, count, requests):
    """Send, and print how many a second it took."""
    before_s = sandbox.cpu_s()
    took_s = sum(sandbox.post(path, body) for path, body in requests)
    cpu_s = sandbox.cpu_s() - before_s
    print(f"{name:<36}{count / took_s:>10,.0f} /s by the clock", end="")
    print(f"{count / cpu_s:>10,.0f} /s by CPU   (asked: {asked:,})")


def asked_for(sandbox, condition):
    """Preview a segment, and print how long that took."""
    began = time.monotonic()
    answer = httpx.post(f"{sandbox.url}/sandbox/segments", json=condition, timeout=60)
    took_s = time.monotonic() - began
    print(f"  segment of {answer.json()['count']:>9,} people {took_s:>10.2f} s   {condition}")
    return took_s


def main():
    """Fill a sandbox and ask it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--data")
    options = parser.parse_args()
    sandbox = Sandbox(options.data)
    try:
        single = [(f"/api/v1/customers/{i}/events", {"name": "x", "data": {}}) for i in range(3000)]
        measured(sandbox, "v1 single events", 1_500, len(single), single)
        batches = (
            ("/api/v2/batch", {"batch": [event(i) for i in range(first, first + PER_REQUEST)]})
            for first in range(0, options.events, PER_REQUEST)
        )
        name = f"v2 events, {PER_REQUEST:,} a request"
        measured(sandbox, name, 100_000, options.events, batches)
        held = f"segment over {options.events:,} events"
        took_s = max(asked_for(sandbox, condition) for condition in SEGMENTS)
        print(f"{held:<36}{took_s:>10.2f} s at most   (asked: 2 s, over ten million)")
        print(f"{'memory':<36}{sandbox.memory_mb():>10,.0f} MB")
    finally:
        sandbox.process.terminate()
        sandbox.process.wait()


if __name__ == "__main__":
    main()
