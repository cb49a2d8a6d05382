"""Cells -> JSON, a column at a time: every value is written once, and always the same way.

cell_json     a source's cells -> JSON columns: by the declared type, or by what they are
json_text     the kernels: text -> JSON strings, numbers, booleans, documents
typed_json    columns of Arrow types -> JSON, at any depth; which types have none
column_names  columns that settings name and no file has: members of objects, columns joined
many_members  the members of rows that say much, or each something else
identity      who a row is about, and the id that an event keeps for ever
"""
