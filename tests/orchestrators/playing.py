"""What the players share: commands come by stdin, what became of them goes to stdout, as JSON."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# An orchestrator prints what it likes: to stderr, then.
_ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def play(run: Callable[[Sequence[str]], Mapping[str, Any]]) -> None:
    """Run each line of stdin, the words after `backfill`, and answer with what became of it."""
    for line in sys.stdin:
        _ANSWERS.write(json.dumps(run(json.loads(line))) + "\n")
