"""What the README shows is what happens: each block of it is run, or read, as it stands."""

import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill import Pipeline
from backfill.pipeline.destination_settings import Notify
from backfill.pipeline.source_settings import KINDS, Sync
from backfill.sandbox import running
from tests.support.accounts import accounted
from tests.support.workspaces import Workspace

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PORT_8025 = "http://127.0.0.1:8025"


def blocks(language: str) -> list[str]:
    """The code blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The commands of a shell block; comments and the sandbox in the background are left out."""
    lines = (shlex.split(line, comments=True) for line in block.splitlines())
    return [line for line in lines if line and line[-1] != "&"]


def told(folder: Path, arguments: list[str], url: str) -> subprocess.CompletedProcess[str]:
    """Run one command of the README in a folder; port 8025 is the sandbox that runs already."""
    arguments = [each.replace(PORT_8025, url) for each in arguments[1:]]
    command = [sys.executable, "-m", "backfill", *arguments]
    sends = arguments[0] in ("run", "sync")
    with accounted(Workspace(url, 0), folder) if sends else nullcontext():
        return subprocess.run(
            command, check=False, cwd=folder, capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def two_unknown_files(tmp_path: Path) -> Path:
    """What somebody brings who has only the README: customers.csv and events.parquet."""
    people = "".join(
        f"{n:04},p{n}@example.com,2021-03-{n % 28 + 1:02}T10:00:00Z\n" for n in range(40)
    )
    (tmp_path / "customers.csv").write_text("customer_id,email,created_at\n" + people)
    timestamps = pa.array(range(1_650_000_000, 1_650_000_000 + 90), pa.timestamp("s", tz="UTC"))
    table = {
        "customer_id": [f"{n % 40:04}" for n in range(90)],
        "event": ["purchased", "viewed"] * 45,
        "occurred_at": timestamps,
        "price": [n / 4 for n in range(90)],
    }
    pq.write_table(pa.table(table), tmp_path / "events.parquet")
    return tmp_path


def test_the_five_lines_move_two_unknown_files(two_unknown_files):
    """From files that nobody described to a finished run in the sandbox, and an opened report."""
    migration, nightly = blocks("sh")
    with running() as sandbox:
        for arguments in commands(migration):
            ended = told(two_unknown_files, arguments, sandbox.url)
            assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)
        report = next(two_unknown_files.glob("rehearsal/*/report.html"))
        words = re.sub(r"<[^>]+>", "", report.read_text("utf-8"))
        assert re.search(r"\b130 rows\b.*delivered", words)

        path = two_unknown_files / "pipeline.toml"
        settings = path.read_text("utf-8").replace(
            'identical_rows = "refuse"', 'identical_rows = "collapse"'
        )
        path.write_text(settings, "utf-8")
        for arguments in commands(nightly):
            local = {"sync": ["--url", sandbox.url]}.get(arguments[1], [])
            ended = told(two_unknown_files, arguments + local, sandbox.url)
            assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)


def test_every_command_of_the_readme_is_one():
    """Also the one that stays in the background."""
    shown = set(re.findall(r"backfill ([a-z]+) ", README))
    asked = subprocess.run(
        [sys.executable, "-m", "backfill", "--help"], capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"^  ([a-z]+) ", asked.stdout.partition("Commands:")[2], re.MULTILINE))
    prose = {"init", "check", "plan", "run", "sandbox", "sync", "schedule", "status", "retry"}
    assert prose <= shown & known


def test_the_pipeline_file_is_valid(tmp_path):
    """Whoever copies it gets no complaint about a key."""
    whole, more, reading, mark, window, consent, unattended = blocks("toml")
    path = tmp_path / "acme.toml"
    path.write_text(whole, "utf-8")
    assert [source.kind for source in Pipeline.load(path).sources] == ["customers", "events"]
    path.write_text(whole.replace('kind = "events"', f'kind = "events"\n{reading}'), "utf-8")
    assert Pipeline.load(path).sources[1].header == ("id", "when")
    path.write_text(f"{whole}\n{more}", "utf-8")
    kinds = {source.kind for source in Pipeline.load(path).sources}
    assert kinds == {*KINDS} - {"deletions"}
    declared = consent.removeprefix("[source.columns]\n")
    path.write_text(whole.replace("[source.columns]\n", f"[source.columns]\n{declared}"), "utf-8")
    assert Pipeline.load(path).sources[0].columns["unsubscribed"].invert
    path.write_text(f"{whole}\n{window}", "utf-8")
    assert Pipeline.load(path).destination.windows[0].rate == 20
    path.write_text(f"{whole}\n{mark}", "utf-8")
    assert Pipeline.load(path).import_.segment == 12
    tables = tomllib.loads(unattended.replace("[source.sync]", "[sync]"))
    assert Sync.model_validate(tables["sync"]).mode == "diff"
    assert Notify.model_validate(tables["notify"]).webhook_env == "SLACK_WEBHOOK"


def test_the_library_does_what_the_readme_says(two_unknown_files, monkeypatch, capsys):
    """The three calls, and the client, pasted into a session."""
    (snippet,) = blocks("python")
    with running() as sandbox:
        init = ["backfill", "init", "customers.csv", "events.parquet"]
        assert told(two_unknown_files, init, sandbox.url).returncode == 0
        path = two_unknown_files / "pipeline.toml"
        settings = path.read_text("utf-8")
        assert "[destination]" in settings
        url = f'[destination]\nurl = "{sandbox.url}"'
        path.write_text(settings.replace("[destination]", url, 1), "utf-8")
        monkeypatch.chdir(two_unknown_files)
        ours = f'TrackClient("sandbox", "sandbox", url="{sandbox.url}")'
        exec(re.sub(r"TrackClient\(.*\)", ours, snippet, count=1), {})  # it is our own README
    planned, looked, *sent, summary, verified = capsys.readouterr().out.splitlines()
    assert (planned, summary) == ("130", "130 0")
    assert "'missing': 0" in verified
    assert looked == "plan: 130 rows checked, 0 rejected"
    assert sent[-1].startswith("send: 130/130 rows")
