"""The pipeline file, read and checked.

file                  Pipeline: the whole file, and what binds a job to it
source_settings       the [[source]] tables, one class a kind
file_settings         where the rows of a source are, and how their files are written
column_settings       [source.columns] and timestamp: how a column is declared
setting_values        what is written in short: "1%", "now+1d", "15m"
destination_settings  where rows are sent, and who is told how it went
mistakes              a line a mistake, with the nearest key
"""
