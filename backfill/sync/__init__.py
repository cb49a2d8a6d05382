"""What a sync remembers from night to night, and what tonight's source says against it.

snapshot       what was sent last, person by person
catch_up       keeps the snapshot in step with the journal, across any number of crashes
differences    tonight's people against the snapshot: new, changed, as before, gone
file_versions  tonight's version of an export, and files not seen before
nights         how the source was on the nights before
"""
