"""The same work on more cores and more machines: processes that work on chunks for a job.

Only the extra `cluster` brings what this needs (Dask distributed), and only `--workers` or
`--cluster` imports it. One process, the driver, owns all that lasts: journal, plan, rate, order.
Workers know nothing but the chunk that they are given and the request that they are granted, so
that any of them can die at any time.

`workers` gives out leases of chunks, and `worker` is what becomes of one; `senders` grants
requests, and `attempts` is what becomes of one. `parcels` are what both are about: what one process
has made lies where others find it.
"""
