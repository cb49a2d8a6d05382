"""What a plan leaves on the disk, and under which names: for whoever writes it and whoever reads.

The names are a format of their own: `FORMAT_VERSION` of `backfill.planning.plan` changes with them.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PlanFolder:
    """The directory of one plan.

    Args:
        path: Where it is.
    """

    path: Path

    @property
    def plan(self) -> Path:
        """The plan itself."""
        return self.path / "plan.json"

    @property
    def decisions(self) -> Path:
        """What was decided about single rows."""
        return self.path / "decisions"

    @property
    def merged(self) -> Path:
        """What all rows of people say who occur in several."""
        return self.path / "merged"

    @property
    def rejections(self) -> tuple[Path, Path, Path]:
        """What each look at the rows rejects, each in the order of files and rows.

        The rows by themselves; events about unknown people; people who are too large when merged.
        """
        return (
            self.path / "rejections.jsonl",
            self.path / "rejections-unknown.jsonl",
            self.path / "rejections-oversized.jsonl",
        )

    @property
    def diff(self) -> Path:
        """In a sync: what differs from what was delivered."""
        return self.path / "diff"
