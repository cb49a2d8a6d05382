"""The sample pipeline and the files that it reads, wherever the package is installed.

In the repository they are the folders `pipelines` and `sample_data`; a wheel holds copies of both
in here, in the same places to each other.
"""

import json
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).parent


def sample_pipeline() -> Path:
    """The pipeline file of the demo. Its folder may be read-only: keep state somewhere else."""
    return (_FOLDER / "pipelines" / "acme.toml").resolve()


def expected_rejections() -> Mapping[str, int]:
    """How many of the sample rows are rejected for each reason, as in the summary."""
    path = _FOLDER / "sample_data" / "expected_rejections.json"
    counts: dict[str, int] = json.loads(path.read_bytes())
    return counts
