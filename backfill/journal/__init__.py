"""The durable memory of what is settled: one SQLite file a job.

journal    what a job has settled, and when to commit
parts      the files of a job; which of their rows are settled: a low watermark and ranges
rejection_pages  the rejections of a job, some hundred in a row of its table
schema     what goes in and comes out, its tables, and the history of runs
database   SQLite, with the settings for the file system at hand; every error is a `StateError`
directory  where all of it is
lock       one process at a time
"""

from backfill.journal.database import LOCAL, NETWORK, Storage
from backfill.journal.directory import forget
from backfill.journal.journal import Journal
from backfill.journal.lock import JobLock
from backfill.journal.parts import Ranges
from backfill.journal.schema import Counts, Part, Range, Run, Settlement, Totals

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
