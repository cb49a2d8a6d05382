"""What a job leaves for people: the summary, the HTML report, where it stands.

wording           numbers, sizes, times, pauses and tables as text: the one place that words them
summary           the figures, and the law that they obey
status_file       a running job's figures, for other processes
progress_figures  how far a command has come, for a bar or a log
html              the report, one page: `content` is what it says, `collect` puts it together,
                  `redaction` leaves out what must not be shown
bundle            all evidence of a job as one archive
charts            its drawings: `plot` draws, `scales` marks the axes, `course` is how fast it went
"""
