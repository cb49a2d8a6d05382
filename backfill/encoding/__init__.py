"""Cells -> JSON, a column at a time: every value is written once, and always the same way.

layout     which column becomes what
values     Arrow columns -> JSON text, whatever the type
cells      a source's cells -> those columns: by the declared type, or by what they are
members    `"name":value` for all rows of a chunk: what they share as text, the rest as columns
"""
