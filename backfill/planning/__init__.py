"""The first pass: what is looked at before anything is sent, over the whole source in flat memory.

plan              the plan: made once, stored, found again, compared with the last one
folder            what a plan leaves on the disk
first_pass        the pass over the source that a plan is made by
chunk_stats       what one chunk shows it; source_stats: the same, added up for a source
proof             which format the timestamps of each column have
grouping          which rows belong together, by hash_groups; row_decisions keeps, for the
                  send pass, what was decided about each
duplicate_filter  which events may repeat one another: only those are compared
merged_people     people who occur in several rows; those who are too large when merged
people            who occurs in the rows, and what they say, for a sync; cursors: since when
rejection_log     the rejections, waiting to be reported
guards            what is refused before anything is sent; warnings: what people should know
progress          how far it has come
"""
