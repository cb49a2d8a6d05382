"""The files of rejected rows show what the journal holds, whatever anybody does to them."""

import json
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backfill.journal import Journal, Settlement
from backfill.rejected.writer import RejectedRows, write_rejected
from backfill.rows import Reason, Rejection

ROWS = st.integers(1, 12)
EDIT = "a user's own work\n"


class Rejected(RuleBasedStateMachine):
    """A journal and its files beside the set of rows that are rejected."""

    def __init__(self):
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name) / "job"
        self.journal = Journal.open(self.folder)
        self.part = self.journal.add_part("in.csv", source=0, size=1, digest="d").id
        self.settled, self.rejected = set(), {}
        self.shown, self.edited = {}, set()

    @rule(row=ROWS, note=st.text(max_size=4))
    def reject(self, row, note):
        """A row is refused for the first time."""
        if row not in self.settled:
            one = Settlement(self.part, [(row, row + 1)], rejections=[_rejection(row, note)])
            self.journal.settle(one)
            self.settled.add(row)
            self.rejected[row] = note

    @rule(row=ROWS, note=st.text(max_size=4), delivered=st.booleans())
    def retry(self, row, note, delivered):
        """A rejected row is sent again: it arrives, or is refused for another reason."""
        if row in self.rejected and delivered:
            self.journal.deliver_rejected(self.part, row)
            del self.rejected[row]
        elif row in self.rejected:
            self.journal.reject_again(self.part, _rejection(row, note))
            self.rejected[row] = note

    @rule()
    def write(self):
        """A run ends: the files are written anew."""
        self.journal.commit()
        written = write_rejected(self.folder, self._rows, {"in.csv": ("note",)}, ["note"])
        self.shown = dict(self.rejected)
        assert (written is None) == (not self.rejected)
        assert written not in self.edited

    @rule()
    def crash(self):
        """The process is gone, with all that was not committed."""
        self.journal.commit()
        self.journal.close()
        self.journal = Journal.open(self.folder)

    @rule()
    def edit(self):
        """A user works in the newest file."""
        for path in sorted(self.folder.glob("rejected*.csv"))[-1:]:
            path.write_text(EDIT)
            self.edited.add(path)

    @rule()
    def remove(self):
        """A user throws everything away."""
        for path in self.folder.glob("rejected*"):
            path.unlink()
        self.shown, self.edited = {}, set()

    @invariant()
    def nobodys_work_is_lost(self):
        """What was edited stays as it is."""
        assert all(path.read_text() == EDIT for path in self.edited)

    @invariant()
    def the_twin_shows_what_was_written_last(self):
        """Each rejected row once, in order, with its cells."""
        twin = self.folder / "rejected.jsonl"
        lines = twin.read_bytes().splitlines() if twin.exists() else []
        found = {each["row"]: each["cells"]["note"] for each in map(json.loads, lines)}
        assert list(found.items()) == sorted(self.shown.items())

    def teardown(self):
        """Let go of the files."""
        self.journal.close()
        self.temporary.cleanup()

    def _rows(self):
        return [RejectedRows(part, "in.csv", some) for part, some in self.journal.rejected()]


def _rejection(row, note):
    return Rejection(row, row + 1, (Reason("name_missing", "event", "why"),), {"note": note})


TestRejected = Rejected.TestCase
TestRejected.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
