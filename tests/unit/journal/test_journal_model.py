"""The journal does what a pure model says, however it is closed, killed and opened again."""

import copy
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backfill.journal import Journal, Settlement
from backfill.rows import Reason, Rejection

OUTCOMES = ("delivered", "merged", "recent", "rejected")
LAST = 40


class Job(RuleBasedStateMachine):
    """A journal beside a dictionary that says what became of each row of two parts."""

    def __init__(self):
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = Path(self.temporary.name) / "job"
        self.journal = Journal.open(self.directory)
        self.journal.add_part("people.csv", source=0, size=1, digest="a")
        self.journal.add_part("events.csv", source=1, size=1, digest="b")
        self.commits = self.journal.commit()
        self.rows = {1: {}, 2: {}}
        self.asked = {1: 1, 2: 1}
        self.kept, self.ceilings = copy.deepcopy(self.rows), dict(self.asked)

    @rule(
        part=st.sampled_from([1, 2]),
        start=st.integers(1, LAST),
        length=st.integers(1, 9),
        outcome=st.sampled_from(OUTCOMES),
    )
    def settle(self, part, start, length, outcome):
        """Whichever of these rows are pending come to one end."""
        rows = [row for row in range(start, start + length) if row not in self.rows[part]]
        ranges = [(row, row + 1) for row in rows]
        count = len(rows)
        self.journal.settle(
            Settlement(
                part,
                ranges,
                delivered=count * (outcome == "delivered"),
                merged=count * (outcome == "merged"),
                skipped={"recent": count} if outcome == "recent" else {},
                rejections=[rejected(row) for row in rows] if outcome == "rejected" else (),
            )
        )
        self.rows[part].update(dict.fromkeys(rows, outcome))

    @rule(part=st.sampled_from([1, 2]), row=st.integers(1, LAST), delivered=st.booleans())
    def retry(self, part, row, delivered):
        """A rejected row is delivered after all, or rejected again."""
        if self.rows[part].get(row) != "rejected":
            return
        if delivered:
            self.journal.deliver_rejected(part, row)
            self.rows[part][row] = "delivered"
        else:
            self.journal.reject_again(part, rejected(row))

    @rule(part=st.sampled_from([1, 2]), row=st.integers(1, LAST))
    def raise_ceiling(self, part, row):
        """The engine would like to go on."""
        self.journal.raise_ceiling(part, row)
        self.asked[part] = max(self.asked[part], row)

    @rule()
    def commit(self):
        """All that was told becomes durable."""
        self.commits += 1
        assert self.journal.commit(requests=1) == self.commits
        self.kept, self.ceilings = copy.deepcopy(self.rows), dict(self.asked)

    @rule()
    def close_and_open(self):
        """What was not committed is forgotten."""
        self.journal.close()
        self.journal = Journal.open(self.directory, create=False)
        self.rows, self.asked = copy.deepcopy(self.kept), dict(self.ceilings)

    @invariant()
    def they_agree(self):
        """Rows, counters, rejections and ceilings are those of the model."""
        for part, rows in self.rows.items():
            counts = self.journal.counts()[part - 1]
            outcomes = list(rows.values())
            assert [counts.delivered, counts.merged, counts.skipped["recent"], counts.rejected] == [
                outcomes.count(outcome) for outcome in OUTCOMES
            ]
            pending = {row for gap in self.journal.settled(part).gaps(60) for row in range(*gap)}
            assert pending == set(range(1, 60)) - set(rows)
            assert self.journal.ceiling(part) == self.ceilings[part]
        assert self.journal.in_doubt() == sum(
            len(set(range(1, ceiling)) - set(self.rows[part]))
            for part, ceiling in self.ceilings.items()
        )
        found = [(part, rejection.row) for part, rejection in self.journal.rejections()]
        assert found == [
            (part, row)
            for part in (1, 2)
            for row in sorted(self.rows[part])
            if self.rows[part][row] == "rejected"
        ]
        done = sum(map(len, self.rows.values()))
        assert self.journal.check_law({1: 60, 2: 60}) == 120 - done

    def teardown(self):
        """Leave nothing open."""
        self.journal.close()
        self.temporary.cleanup()


def rejected(row):
    """A rejection of a row."""
    return Rejection(row, None, (Reason("invalid", "email", "It is none."),), {"email": "x"})


TestJob = Job.TestCase
TestJob.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
