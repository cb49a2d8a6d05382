"""The command line: parses, calls the library, renders, exits.

app        the commands, and the one way in
exits      the one way out: results to stdout, what to do next to stderr
options    what commands can be asked, said once for all of them
signals    Ctrl-C and SIGTERM: once drains, twice stops at once
progress   what happens meanwhile, on stderr: `bars` on a terminal, plain lines elsewhere
screens    what a plan and the state of jobs look like
"""
