"""What is looked at before anything is sent, over the whole source and in flat memory.

first_pass  the pass over the source that a plan is made by
look        what one chunk shows it
plans       the plan: made once, stored, found again
proof       how the moments of each column are written
cursors     which rows are new by a moment that they carry
people      who stands in the rows, and what they say
sieve       which events may repeat one another: only those are compared
together    which rows belong together; hash_groups finds them, marks keeps them by row
merged      people who stand in several rows; overfull: those who are too much only together
tally       what a source's rows show, added up
spool       the rejections, waiting to be reported
guards      what is refused before anything is sent; advice: what people should know
"""
