"""The same work on more cores and more machines: processes that work on chunks for a job.

Only the extra `cluster` brings what this needs (Dask distributed), and only `--workers` or
`--cluster` imports it. One process, the driver, reads the files and owns all that lasts: journal,
plan, rate, order. Workers know nothing but the chunk that they are given, so that any of them can
die at any time.
"""
