"""The command line: parses, calls the library, renders, exits.

app           the commands, and the one way in
job_commands  check, plan, run, retry, sync, report; the other commands have a file each
flags         what commands can be asked, said once for all of them
session       one call of the library: watched, and stopped by signals (Ctrl-C: once drains,
              twice stops at once)
exits         the one way out: results to stdout, what to do next to stderr
terminal      what is shown meanwhile, and how wide: `bars` on a terminal, plain lines elsewhere
screens       what a plan looks like in short; `plan_screen` in full
"""
