"""State elsewhere: a job's state in a bucket, for machines that lose their disk.

keeper   brings the state here for a command, keeps the bucket up to date, and lets go of it
lease    the right to do so: one object, written only in place of its last version
mirror   the job's files, from the bucket into a folder and back
visit    what a status shows of jobs elsewhere

Nothing of it is imported where the state is on this machine's disk.
"""
