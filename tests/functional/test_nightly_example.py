"""The nightly example, started as cron does: after each night the workspace equals the export."""

import csv
import importlib.util
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.support.accounts import accounted
from tests.support.programs import Ended
from tests.support.workspaces import Workspace

ROOT = Path(__file__).parent.parent.parent
NIGHTS = ROOT / "sample_data" / "nights"
BERLIN = ZoneInfo("Europe/Berlin")


class Shop:
    """The example in a folder of its own, and the workspace that it syncs to.

    Args:
        folder: The copy of the repository's folders.
        command: What cron gives to sh.
        workspace: Where it is sent.
    """

    def __init__(self, folder: Path, command: str, workspace: Workspace) -> None:
        self.inbox = folder / "sample_data" / "inbox"
        self._log = folder / "pipelines" / "nightly.log"
        self._command = command
        self._workspace = workspace

    def export(self, night: int) -> None:
        """Put a night's files over those of the last one."""
        shutil.copytree(NIGHTS / str(night), self.inbox, dirs_exist_ok=True)

    def night(self) -> Ended:
        """What cron does once a night."""
        self._log.unlink(missing_ok=True)
        with accounted(self._workspace, self.inbox.parent.parent):
            done = subprocess.run(
                ["/bin/sh", "-c", self._command], cwd="/", env={}, timeout=60, check=False
            )
        log = self._log.read_text("utf-8")
        (summary,) = [line for line in log.splitlines() if line.startswith("{")]
        return Ended(done.returncode, summary, log)

    def check(self, *nights: int) -> None:
        """Compare the workspace with the last export, and with the events of all nights."""
        last = _rows(NIGHTS / str(nights[-1]) / "customers.csv")
        found = {name: each["attributes"] for name, each in self._workspace.people().items()}
        assert found == {row["id"]: _attributes(row) for row in last}
        files = [file for night in nights for file in (NIGHTS / str(night)).glob("events-*.csv")]
        keys = sorted(row["event_id"] for file in files for row in _rows(file))
        assert sorted(each["attributes"]["event_id"] for each in self._workspace.events()) == keys


@pytest.fixture
def shop(tmp_path, backfill, sandbox):
    """The example before its first night."""
    for name in ("pipelines", "sample_data"):
        shutil.copytree(ROOT / name, tmp_path / name, dirs_exist_ok=True)
    file = tmp_path / "pipelines" / "nightly.toml"
    text = file.read_text("utf-8")
    file.write_text(text.replace('region = "us"', f'url = "{sandbox.url}"'), "utf-8")
    (tmp_path / "sample_data" / "inbox").mkdir(exist_ok=True)
    *_, line = backfill("schedule", file, "--format", "cron").stdout.splitlines()
    return Shop(tmp_path, line.split(maxsplit=5)[5].replace(r"\%", "%"), sandbox)


def test_three_nights_of_a_shop(shop):
    """Everybody on the first; on the others who joined, changed and left, and a late file."""
    sent = []
    for night in (1, 2, 3):
        shop.export(night)
        done = shop.night()
        assert done.code == 0, done.stderr
        this = done.summary["this_run"]
        sent.append((this["delivered"], this["deletes"]))
        shop.check(*range(1, night + 1))
    joined_or_changed, left = 3 + 4, 2
    assert sent[0] == (60 + 35, 0)
    assert [deletes for _, deletes in sent[1:]] == [left, left]
    for delivered, events in ((sent[1][0], 40), (sent[2][0], 45)):
        assert delivered - events <= joined_or_changed + left


def test_a_night_that_was_missed_is_caught_up(shop):
    """The third night sends what the second would have."""
    shop.export(1)
    assert shop.night().code == 0
    shop.export(2)
    shop.export(3)
    assert shop.night().code == 0
    shop.check(1, 2, 3)


def test_an_export_that_was_cut_short_deletes_nobody(shop):
    """7, and the setting that answers; the whole export makes it good."""
    shop.export(1)
    assert shop.night().code == 0
    customers = shop.inbox / "customers.csv"
    lines = customers.read_text("utf-8").splitlines(keepends=True)
    customers.write_text("".join(lines[:20]), "utf-8")
    done = shop.night()
    assert done.code == 7
    assert "deletes_max" in done.stderr
    shop.check(1)
    shop.export(2)
    assert shop.night().code == 0
    shop.check(1, 2)


def test_the_script_makes_the_very_files_of_the_nights(tmp_path):
    """Who changes the script has to run it, and nobody edits its files by hand."""
    script = ROOT / "sample_data" / "make_nights.py"
    spec = importlib.util.spec_from_file_location("make_nights", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(tmp_path)
    made, kept = _texts(tmp_path), _texts(NIGHTS)
    assert made == kept


def _texts(folder: Path) -> dict[str, str]:
    files = [each for each in folder.rglob("*") if each.is_file()]
    return {str(each.relative_to(folder)): each.read_text("utf-8") for each in files}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _attributes(row: dict[str, str]) -> dict[str, object]:
    """What a person of the export is in the workspace."""
    joined = datetime.strptime(row["signed_up"], "%Y-%m-%d %H:%M").replace(tzinfo=BERLIN)
    told = {"email": row["email"], "plan": row["plan"], "created_at": int(joined.timestamp())}
    return told | ({"city": row["city"]} if row["city"] else {})
