"""Parts of the pipeline file that are read by rules of their own.

unattended  what is new each night, and who is told how it went
amounts     settings given in two ways: a count or a share, a moment or a distance
addresses   where something may be sent to
mistakes    a line a mistake, with the nearest key
"""
