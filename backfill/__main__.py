"""`python -m backfill`, and the `backfill` command."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Do what the command line asks, and exit as the design's table of exit codes says."""
    from backfill.cli.app import main as command_line  # noqa: PLC0415  # `import backfill` is fast

    sys.exit(command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
