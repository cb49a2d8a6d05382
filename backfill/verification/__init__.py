"""Proof: what a job delivered, read back from the workspace and compared field by field."""
