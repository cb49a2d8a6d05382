"""How many examples a property is tried with: `TIMES=10 make test` tries ten times as many."""

import os

TIMES = int(os.environ.get("TIMES", "1"))


def examples(usual: int) -> int:
    """So many, or as many times that as `TIMES` says."""
    return usual * TIMES
