"""The durable memory of what is settled: one SQLite file a job.

journal    what a job has settled, and when to commit
values     what goes in and comes out
ranges     which rows are settled: a low watermark and ranges above it
parts      the files of a job
schema     the tables, and the history of runs
database   SQLite, on which every error is a `StateError`
storage    SQLite's settings for the file system at hand
directory  where all of it is
lock       one process at a time
"""

from backfill.journal.directory import forget
from backfill.journal.journal import Journal
from backfill.journal.lock import JobLock
from backfill.journal.ranges import Range, Ranges
from backfill.journal.storage import LOCAL, NETWORK, Storage
from backfill.journal.values import Counts, Part, Run, Settlement, Totals

__all__ = [
    "LOCAL",
    "NETWORK",
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
