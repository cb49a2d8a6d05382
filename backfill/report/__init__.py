"""What a job leaves for people: the summary, the rejected rows, where it stands.

summary    the figures, and the law that they obey
rejected   the rejected rows as a table for spreadsheets, with a lossless twin
mended     the same table, read back after it was mended
saved      how a spreadsheet saved it
edits      what in it is a person's work
html       the report: a page to show around (content: what it says; charts, plot, scales and svg:
           its drawings; course and pace: how fast it went; settings, redaction: what may be told)
status     a running job's figures, for other processes
tables     lines of cells for terminals
cells      how a cell is written in the table
recording  watches a run while it sends; telling puts together what the page says; notifying tells
           a webhook how it ended
"""
