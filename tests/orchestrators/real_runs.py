"""Each orchestrator meets each exit code of the program, and does what the code asks for.

The examples of `pipelines/orchestrators` are run by the orchestrator's own runner, in its own
environment (`make orchestrators` installs them); they start the program, which sends into a
sandbox. Not part of the suite: pytest collects this file only where it is named.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import until
from tests.support.workspaces import Workspace, workspace

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "pipelines" / "orchestrators"
SCRIPTS = Path(__file__).parent
ORCHESTRATORS = ("airflow", "dagster", "prefect")
_RUN_S = 120
UNAVAILABLE = {"kind": "status", "status": 503, "method": "POST"}
SLOW = {"kind": "latency", "seconds": 2.0, "method": "POST"}


@dataclass
class Shop:
    """The nightly example in a folder of its own, and the workspace that it syncs to."""

    folder: Path
    workspace: Workspace

    def __post_init__(self) -> None:
        for name in ("pipelines", "sample_data"):
            shutil.copytree(ROOT / name, self.folder / name)
        self.change("nightly.toml", 'region = "us"', f'url = "{self.workspace.url}"')
        self.export(1)

    @property
    def inbox(self) -> Path:
        """Where the exports lie."""
        return self.folder / "sample_data" / "inbox"

    @property
    def pipeline(self) -> Path:
        """The pipeline file."""
        return self.folder / "pipelines" / "nightly.toml"

    @property
    def state(self) -> Path:
        """The job's folder."""
        return self.folder / "pipelines" / ".backfill" / "nightly"

    def export(self, night: int) -> None:
        """Put a night's files over those of the last one."""
        shutil.copytree(ROOT / f"sample_data/nights/{night}", self.inbox, dirs_exist_ok=True)

    def change(self, name: str, old: str, new: str) -> None:
        """Change a file of the pipelines."""
        path = self.folder / "pipelines" / name
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")

    def add_row(self, name: str, row: str) -> None:
        """Add a row to a file of the export."""
        with (self.inbox / name).open("a", encoding="utf-8") as file:
            file.write(row + "\n")

    def sync(self, *more: str) -> int:
        """Sync once, by hand."""
        done = subprocess.run(
            [PROGRAM, "sync", self.pipeline, *more], env=_environment("", self.folder), check=False
        )
        return done.returncode

    def pid(self) -> int:
        """The process that runs the job, once it sends."""
        until(lambda: self.workspace.fired() != [0])
        return json.loads((self.state / "lock").read_bytes())["pid"]


PROGRAM = ROOT / ".venv" / "bin" / "backfill"


def nothing(_: Shop) -> None:
    """A night like any other."""


def a_wrong_setting(shop: Shop) -> None:
    """A word in the pipeline file that is none."""
    shop.change("nightly.toml", 'kind = "customers"', 'kind = "people"')


def a_row_without_identifier(shop: Shop) -> None:
    """One row of the export names nobody."""
    shop.add_row("customers.csv", ",nobody@example.com,2024-01-01 10:00,basic,")


def a_wrong_key(shop: Shop) -> None:
    """The credentials file holds a key that was revoked."""
    shop.change("nightly.toml", "[destination]", '[destination]\ncredentials = "keys.toml"')
    keys = shop.folder / "pipelines" / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text('site_id = "sandbox"\napi_key = "revoked"\n')


def a_file_that_changed_before_all_was_sent(shop: Shop) -> None:
    """One of its rows is still held, and tonight the file is another."""
    hold = 'recent_events = "hold"\nlatest = "2999-01-01"'
    shop.change("nightly.toml", 'recent_events = "send"', hold)
    events = shop.inbox / "events-2025-03-01.csv"
    shop.add_row(events.name, "E9999,C0001,signed_in,2998-01-01T00:00:00+00:00")
    assert shop.sync() == 0
    events.write_text(events.read_text("utf-8").replace("E9999", "E8888"), "utf-8")


def a_damaged_journal(shop: Shop) -> None:
    """Something wrote over it."""
    assert shop.sync() == 0
    (shop.state / "state.db").write_bytes(b"not a journal any more")


def an_export_that_was_cut_short(shop: Shop) -> None:
    """As if most people had left."""
    assert shop.sync() == 0
    customers = shop.inbox / "customers.csv"
    lines = customers.read_text("utf-8").splitlines(keepends=True)
    customers.write_text("".join(lines[:20]), "utf-8")


def an_unavailable_service(shop: Shop) -> None:
    """It answers nothing but 503."""
    shop.workspace.misbehave(UNAVAILABLE)


def a_slow_service(shop: Shop) -> None:
    """So slow that the program can be found while it waits."""
    shop.workspace.misbehave(SLOW)


def it_recovers(shop: Shop) -> None:
    """Once the first start has given up."""
    until(lambda: _exit_of(shop.state / "summary.json") == 75)
    shop.workspace.misbehave()


def stopped_by(number: int) -> Callable[[Shop], None]:
    """Somebody sends the program a signal while it waits for an answer."""

    def stop(shop: Shop) -> None:
        os.kill(shop.pid(), number)
        shop.workspace.misbehave()

    return stop


def _exit_of(summary: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(summary.read_bytes())["exit"]
    return None


@dataclass(frozen=True)
class Case:
    """An exit code, how it comes about, and what an orchestrator makes of it."""

    code: int
    before: Callable[[Shop], None]
    meanwhile: Callable[[Shop], None] = nothing
    ends: str = "done"  # done, warned, failed or retried
    says: str = ""
    more: Sequence[str] = ()


CASES = [
    Case(0, nothing),
    Case(2, a_wrong_setting, ends="failed", says="kind"),
    Case(3, a_row_without_identifier, ends="warned", says="rejected.csv"),
    Case(4, a_wrong_key, ends="failed", says="key"),
    Case(5, a_file_that_changed_before_all_was_sent, ends="failed", says="--restart"),
    Case(6, a_damaged_journal, ends="failed", says="state.db"),
    Case(7, an_export_that_was_cut_short, ends="failed", says="deletes_max"),
    Case(75, an_unavailable_service, it_recovers, ends="retried", more=("--for", "2s")),
    Case(130, a_slow_service, stopped_by(signal.SIGINT), ends="retried"),
    Case(143, a_slow_service, stopped_by(signal.SIGTERM), ends="retried"),
    Case(-9, a_slow_service, stopped_by(signal.SIGKILL), ends="retried"),
]


class Player:
    """An orchestrator in its environment; it stays, since each takes seconds to start."""

    def __init__(self, name: str, folder: Path) -> None:
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.child = subprocess.Popen(
                [ROOT / ".orchestrators" / name / "bin" / "python", SCRIPTS / f"play_{name}.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=_environment(name, folder),
            )

    def run(self, *arguments: str | Path) -> tuple[dict[str, Any], str]:
        """Let it run the command; gives what became of it, and the orchestrator's log."""
        before = self._log.stat().st_size
        self.child.stdin.write(json.dumps([*map(str, arguments)]) + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        log = self._log.read_bytes()[before:].decode()
        assert answer, log
        was_warned = "[warning  ] rejected rows: 1; next: " in log  # Airflow has nothing but this
        return {"was_warned": was_warned, **json.loads(answer)}, log


def _environment(name: str, folder: Path) -> dict[str, str]:
    """What a process of an orchestrator, and the program in it, knows."""
    known = {
        "HOME": str(folder),
        "PATH": f"{ROOT}/.orchestrators/{name}/bin:{ROOT}/.venv/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{EXAMPLES}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DO_NOT_TRACK": "1",
    }
    airflow = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    dagster = {"DAGSTER_DISABLE_TELEMETRY": "yes"}
    prefect = {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(_RUN_S),
    }
    return known | {"airflow": airflow, "dagster": dagster, "prefect": prefect}.get(name, {})


@pytest.fixture(scope="module", params=ORCHESTRATORS)
def player(request, tmp_path_factory) -> Iterator[Player]:
    """Each orchestrator in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "airflow":
        program = ROOT / ".orchestrators" / "airflow" / "bin" / "airflow"
        environment = _environment("airflow", folder)
        subprocess.run([program, "db", "migrate"], env=environment, check=True, capture_output=True)
    playing = Player(request.param, folder)
    with playing.child as child:
        yield playing
        child.stdin.close()
        child.wait(_RUN_S)


@pytest.fixture(scope="module")
def _workspace() -> Iterator[Workspace]:
    """One sandbox for all."""
    with workspace() as running:
        yield running


@pytest.fixture
def shop(tmp_path, _workspace) -> Shop:
    """Before its first night, and an empty workspace."""
    _workspace.reset()
    return Shop(tmp_path, _workspace)


@contextlib.contextmanager
def beside(work: Callable[[Shop], None], shop: Shop) -> Iterator[None]:
    """Do something while something else goes on, and see that it went well."""
    failed: list[BaseException] = []

    def do() -> None:
        try:
            work(shop)
        except BaseException as error:  # noqa: BLE001  # it is raised in the test's own thread
            failed.append(error)

    thread = threading.Thread(target=do)
    thread.start()
    yield
    thread.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.ends}")
def test_it_does_what_the_exit_code_asks_for(player, shop, case):
    """Done, done with a warning, failed at once with the advice, or retried until it is done."""
    case.before(shop)
    with beside(case.meanwhile, shop):
        ended, log = player.run("sync", shop.pipeline, *case.more)
    assert ended["succeeded"] == (case.ends != "failed"), log
    assert ended["was_warned"] == (case.ends == "warned"), log
    assert (ended["starts"] > 1) == (case.ends == "retried"), log
    assert case.says in ended["message"] + log
    if case.ends == "failed":
        assert f"exit {case.code}; next: " in ended["message"]
    else:
        assert len(shop.workspace.people()) == 60


def test_a_night_waits_for_the_last_one(player, shop):
    """The command of the examples says --wait: no second start, and no exit 6."""
    a_slow_service(shop)
    with subprocess.Popen([PROGRAM, "sync", shop.pipeline], env=_environment("", shop.folder)):
        shop.pid()
        ended, log = player.run("sync", shop.pipeline, "--wait", "15m")
    assert (ended["succeeded"], ended["starts"]) == (True, 1), log
    assert "60 unchanged" in log
