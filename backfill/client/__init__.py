"""The Track API by hand, one call at a time."""
