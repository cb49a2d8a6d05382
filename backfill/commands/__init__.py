"""What users call, one file each: the command line and the Python API call the same functions."""
