"""`python -m backfill.sandbox --port 0`: a sandbox as a process of its own, for tests."""

import argparse
from pathlib import Path

from backfill.sandbox.server import serve
from backfill.sandbox.settings import Settings


def main() -> None:
    """Serve until a signal comes; the first line of stdout tells the address."""
    parser = argparse.ArgumentParser(prog="python -m backfill.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    serve(
        Settings(port=options.port, data=options.data),
        lambda url: print(f"sandbox: {url} (site id sandbox, API key sandbox)", flush=True),  # noqa: T201
    )


if __name__ == "__main__":
    main()
