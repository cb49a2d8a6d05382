"""The account of a call: sources add up, and the gravest reason gives the exit code."""

from collections import Counter

import pytest

from backfill.engine.accounting import exit_of, total_of
from backfill.errors import ExitCode, InterruptedRunError, StateError, UnavailableError
from backfill.journal import Counts

GONE, FULL, STOPPED = UnavailableError("gone"), StateError("full"), InterruptedRunError("stopped")


def test_what_became_of_the_rows_of_all_sources_adds_up():
    """Each figure, and each reason."""
    one = Counts(delivered=1, rejected=3, merged=2, deletes=1)
    one.skipped, one.reasons = Counter(transform=4), Counter(invalid=2, refused=1)
    other = Counts(delivered=10, rejected=1)
    other.skipped, other.reasons = Counter(transform=1, recent_event=2), Counter(invalid=1)

    both = total_of([one, other])

    assert (both.delivered, both.rejected, both.merged, both.deletes) == (11, 4, 2, 1)
    assert both.skipped == {"transform": 5, "recent_event": 2}
    assert both.reasons == {"invalid": 3, "refused": 1}
    assert both.rows() == 11 + 4 + 2 + 7
    assert total_of([]) == Counts()


@pytest.mark.parametrize(
    ("refused", "errors", "code"),
    [
        (0, [None], ExitCode.DELIVERED),
        (1, [None], ExitCode.REJECTIONS),
        (1, [GONE], ExitCode.UNAVAILABLE),
        (0, [GONE, STOPPED], ExitCode.INTERRUPTED),
        (5, [STOPPED, FULL, None], ExitCode.STATE),
    ],
)
def test_a_call_exits_with_the_gravest_of_its_reasons(refused, errors, code):
    """Rejected rows weigh least."""
    assert exit_of(refused, *errors) == code
