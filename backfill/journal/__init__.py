"""The durable memory of what is settled.

    ranges     which rows are settled: a low watermark and ranges above it
    values     what goes in and comes out
    sqlite     the journal itself
    lock       one process at a time
    clock      when to commit

Below them: the state of a part in memory, the tables, the database, and the directory they are in.
"""

from backfill.journal.commit_clock import CommitClock
from backfill.journal.journal import Journal
from backfill.journal.lock import JobLock
from backfill.journal.opening import forget
from backfill.journal.ranges import Range, Ranges
from backfill.journal.storage import LOCAL, NETWORK, Storage
from backfill.journal.values import Counts, Part, Run, Settlement, Totals

__all__ = [
    "LOCAL",
    "NETWORK",
    "CommitClock",
    "Counts",
    "JobLock",
    "Journal",
    "Part",
    "Range",
    "Ranges",
    "Run",
    "Settlement",
    "Storage",
    "Totals",
    "forget",
]
