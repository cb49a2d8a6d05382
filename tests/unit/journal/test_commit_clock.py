"""Commits come often enough, and not too often."""

import pytest

from backfill.journal.journal import CommitClock


@pytest.mark.parametrize(
    ("now_s", "operations", "due"),
    [
        (10.0, 1, False),
        (10.24, 4_999, False),
        (10.24, 5_000, True),
        (10.25, 1, True),
        (99.0, 0, False),
    ],
)
def test_a_commit_is_due_after_a_time_or_a_number_of_operations(now_s, operations, due):
    """Whichever comes first; with nothing to commit there is nothing due."""
    assert CommitClock(10.0).due(now_s, operations) is due


def test_a_commit_starts_the_time_anew():
    """The next commit is due a whole interval later."""
    clock = CommitClock(10.0)
    clock.committed(10.3)
    assert not clock.due(10.5, 1)
    assert clock.due(10.55, 1)
