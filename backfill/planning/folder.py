"""What a plan leaves on the disk, and under which names: for whoever writes it and whoever reads.

The names are a format of their own: `FORMAT_VERSION` of `backfill.planning.plan` changes with them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import xxhash

from backfill.files import make_lasting, sync_directory, write_atomically

_BLOCK_BYTES = 1 << 20


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

    @property
    def manifest(self) -> Path:
        """Every file of the plan, with its length and digest."""
        return self.path / "manifest.json"

    def seal(self) -> str:
        """Write the manifest of all files that are there, and make them survive a power cut.

        Returns:
            A digest of the manifest, and so of all that the send pass will read.

        Raises:
            OSError: The disk is full, or fails.
        """
        files = {name: _proof(path) for name, path in sorted(self._files().items())}
        content = json.dumps(files).encode()
        write_atomically(self.manifest, content)
        make_lasting(self.path)
        sync_directory(self.path.parent)
        return xxhash.xxh3_128_hexdigest(content)

    def damage(self, seal: str | None = None) -> str:
        """Which file is not as it was sealed; empty: none.

        Args:
            seal: The digest of the manifest, where it is known.
        """
        try:
            content = self.manifest.read_bytes()
            if seal not in (None, xxhash.xxh3_128_hexdigest(content)):
                return self.manifest.name
            sealed = json.loads(content)
            found = self._files()
            # Files may come: a sync compares people in the folder of its plan.
            return next(
                (
                    name
                    for name, proof in sealed.items()
                    if name not in found or _proof(found[name]) != proof
                ),
                "",
            )
        except (OSError, ValueError, AttributeError):
            return self.manifest.name

    def _files(self) -> dict[str, Path]:
        """The plan's files by name, without hidden ones, which are temporary.

        A link is none: what it leads to is not ours.
        """
        return {
            path.relative_to(self.path).as_posix(): path
            for path in self.path.rglob("*")
            if path.is_file()
            and not path.is_symlink()
            and not path.name.startswith(".")
            and path != self.manifest
        }


def _proof(path: Path) -> list[int | str]:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return [path.stat().st_size, digest.hexdigest()]
