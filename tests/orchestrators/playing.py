"""What the players share: commands come by stdin, what became of them goes to stdout, as JSON."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

RETRIES, RETRY_DELAY_S = 3, 1
"""Instead of those of the examples, which take hours."""


def play(run: Callable[[Sequence[str]], Mapping[str, Any]]) -> None:
    """Run each line of stdin, the words after `backfill`, and answer with what became of it."""
    # An orchestrator prints what it likes: to stderr, then.
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            answers.write(json.dumps(run(json.loads(line))) + "\n")
