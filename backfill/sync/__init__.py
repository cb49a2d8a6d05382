"""What a sync remembers from night to night, and what tonight's source says against it.

snapshot     what the workspace was told last, person by person
memory       keeps the snapshot in step with the journal, across any number of crashes
differences  tonight's people against the snapshot: new, changed, as before, gone
versions     tonight's version of an export, and files not seen before
nights       how the source was on the nights before
"""
