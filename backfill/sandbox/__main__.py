"""`python -m backfill.sandbox --port 0`: a sandbox as a process of its own, for tests."""

import argparse
import sys
from pathlib import Path

from backfill.sandbox.behaviour import SandboxSettings
from backfill.sandbox.server import Address, serve


def main() -> None:
    """Serve until a signal comes; the first line of stdout tells the address."""
    parser = argparse.ArgumentParser(prog="python -m backfill.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    serve(SandboxSettings(port=options.port, data=options.data), _announce)


def _announce(address: Address) -> None:
    sys.stdout.write(f"sandbox: {address.url} (site id sandbox, API key sandbox)\n")
    # who started the process waits for this line, and a pipe is buffered
    sys.stdout.flush()


if __name__ == "__main__":
    main()
