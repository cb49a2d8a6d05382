"""The way to the Track API: retrying outside, pacing inside, verdicts at the heart."""
