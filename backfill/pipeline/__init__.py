"""The pipeline file, read and checked.

file                  Pipeline: the whole file, and what binds a job to it
source_settings       the [[source]] tables, one class a kind
columns               columns, identifiers and timestamps as a source declares them
destination_settings  where rows are sent, and who is told how it went
amounts               settings given in two ways: a count or a share, a date or a distance
addresses             which URLs something may be sent to
mistakes              a line a mistake, with the nearest key
"""
