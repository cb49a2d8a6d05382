"""What people see of a job while it works.

figures    how far it has come, in words that fit the line
watch      observes a run, and shows the figures now and then
lines      shows them as plain lines: for logs, pipes and notebooks
"""
