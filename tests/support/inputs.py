"""A file of a job where a test needs one, and not what is in it."""

from backfill.cli.samples import sample_pipeline
from backfill.sources import LocalFile, open_source
from backfill.sources.inputs import Input

_STORED = LocalFile.of(sample_pipeline().parent.parent / "sample_data" / "customers-2022.csv")


def an_input(part: int, name: str) -> Input:
    """A file of the first source, by another name."""
    return Input(part, 0, name, open_source(_STORED), _STORED.fingerprint())
