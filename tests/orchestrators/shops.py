"""The nightly example before its first night: on a disk, and in a bucket."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support import stores
from tests.support.programs import until
from tests.support.workspaces import Workspace

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "pipelines" / "orchestrators"
PROGRAM = ROOT / ".venv" / "bin" / "backfill"
MANIFESTS = EXAMPLES / "kubernetes_cronjob.yaml"


class Shop:
    """The nightly example in a folder of its own, and the workspace that it syncs to.

    Args:
        folder: Where it is put.
        workspace: Where it is sent.
    """

    def __init__(self, folder: Path, workspace: Workspace) -> None:
        self.folder = folder
        self.workspace = workspace
        self.pipeline = folder / "pipelines" / "nightly.toml"
        self.inbox = folder / "sample_data" / "inbox"
        self.pipeline.parent.mkdir()
        self.pipeline.write_text(self.settings(), "utf-8")
        self.change('region = "us"', f'url = "{workspace.url}"')
        self.export(1)

    def settings(self) -> str:
        """What the pipeline file says."""
        return (ROOT / "pipelines" / "nightly.toml").read_text("utf-8")

    def environment(self) -> dict[str, str]:
        """What the program finds in its environment."""
        return clean_environment(self.folder, PROGRAM.parent)

    def export(self, night: int) -> None:
        """Put a night's files over those of the last one."""
        shutil.copytree(ROOT / f"sample_data/nights/{night}", self.inbox, dirs_exist_ok=True)

    def change(self, old: str, new: str) -> None:
        """Change the pipeline file."""
        text = self.pipeline.read_text("utf-8")
        assert old in text
        self.pipeline.write_text(text.replace(old, new), "utf-8")

    def add_row(self, name: str, row: str) -> None:
        """Add a row to a file of the export."""
        with (self.inbox / name).open("a", encoding="utf-8") as file:
            file.write(row + "\n")

    def bring(self) -> None:
        """Bring the export to where the pipeline reads it."""

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start a sync by hand."""
        self.bring()
        command = [PROGRAM, "sync", self.pipeline, *more]
        return subprocess.Popen(command, env=self.environment(), cwd=self.folder)

    def sync(self, *more: str) -> int:
        """Sync by hand, to the end."""
        return self.start(*more).wait()

    def pid(self) -> int:
        """The process that runs the job, once it sends."""
        until(lambda: self.workspace.fired() != [0])
        return json.loads(self.read("lock"))["pid"]

    def has_ended_with(self, code: int) -> bool:
        """Whether the job's last start ended so."""
        with contextlib.suppress(OSError, ValueError, AssertionError):
            return json.loads(self.read("summary.json"))["exit"] == code
        return False

    def read(self, name: str) -> bytes:
        """A file of the job's folder."""
        return (self.pipeline.parent / ".backfill" / "nightly" / name).read_bytes()

    def damage(self) -> None:
        """Write something over the journal."""
        (self.pipeline.parent / ".backfill/nightly/state.db").write_bytes(b"not a journal any more")


class BucketShop(Shop):
    """The same for the example of Kubernetes: export and state are in a bucket.

    Args:
        folder: Where the files lie before they are brought to the bucket.
        workspace: Where it is sent.
        place: The bucket.
    """

    def __init__(self, folder: Path, workspace: Workspace, place: stores.Place) -> None:
        self._place = place
        super().__init__(folder, workspace)

    def settings(self) -> str:
        """The pipeline of the manifests, but with the bucket of this machine."""
        (text,) = [each["data"]["pipeline.toml"] for each in manifests() if "data" in each]
        assert 'region = "eu-central-1"' in text
        text = text.replace('region = "eu-central-1"', self._place.settings)
        return text.replace("s3://acme-exports/", self._place.base)

    def environment(self) -> dict[str, str]:
        """With the keys of the bucket."""
        return {**super().environment(), **stores.ENVIRONMENT}

    def bring(self) -> None:
        """Into the bucket."""
        for each in self.inbox.iterdir():
            self._place.put(f"inbox/{each.name}", each.read_bytes())

    def read(self, name: str) -> bytes:
        """Out of the bucket."""
        return self._place.get(f"jobs/nightly/{name}")

    def damage(self) -> None:
        """In the bucket."""
        key = json.loads(self.read("lock"))["files"]["state.db"]["key"]
        inside = key[key.index("jobs/nightly/") :]
        self._place.put(inside, b"not a journal any more")


def clean_environment(home: Path, *programs: Path) -> dict[str, str]:
    """The environment of this process without what concerns the program or an orchestrator.

    Args:
        home: A home folder of its own.
        programs: Folders that come first on the PATH.
    """
    theirs = ("CUSTOMERIO_", "AWS_", "AIRFLOW", "DAGSTER_", "PREFECT_", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    return {**kept, "HOME": str(home), "PATH": path}


def manifests() -> Iterator[dict[str, Any]]:
    """The documents of the example for Kubernetes."""
    return yaml.safe_load_all(MANIFESTS.read_text("utf-8"))
