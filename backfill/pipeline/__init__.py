"""The pipeline file, read and checked.

file                  Pipeline: the whole file, and what binds a job to it
source_settings       the [[source]] tables, one class a kind
file_settings         where the rows of a source are, and how their files are written
column_settings       [source.columns] and timestamp: how a column is declared
setting_values        what is written in short: "1%", "now+1d", "15m"
columns               columns, identifiers and timestamps as a source declares them
destination_settings  where rows are sent, and who is told how it went
amounts               settings given in two ways: a count or a share, a date or a distance
addresses             which URLs something may be sent to
mistakes              a line a mistake, with the nearest key
"""
