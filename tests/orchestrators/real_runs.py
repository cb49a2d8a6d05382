"""Each orchestrator meets each exit code of the program, and does what the code asks for.

The examples of `pipelines/orchestrators` are run by the orchestrator's own runner, in its own
environment (`make orchestrators` installs them); they start the program, which sends into a
sandbox. Not part of the suite: pytest collects this file only where it is named.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.orchestrators.playing import RETRIES
from tests.orchestrators.runners import Cluster, playing
from tests.orchestrators.shops import BucketShop, Shop
from tests.support import stores
from tests.support.programs import until
from tests.support.workspaces import workspace

UNAVAILABLE = {"kind": "status", "status": 503, "method": "POST"}
SLOW = {"kind": "latency", "seconds": 2.0, "method": "POST"}
LIES = {"kind": "change_attribute", "attribute": "plan", "value": "none", "items": [1, 2]}


def nothing(_: Shop) -> None:
    """A night like any other."""


def a_wrong_setting(shop: Shop) -> None:
    """A word in the pipeline file that is none."""
    shop.change('kind = "customers"', 'kind = "people"')


def a_row_without_identifier(shop: Shop) -> None:
    """One row of the export names nobody."""
    shop.add_row("customers.csv", ",nobody@example.com,2024-01-01 10:00,basic,")


def a_wrong_key(shop: Shop) -> None:
    """The credentials file holds a key that was revoked."""
    keys = shop.pipeline.with_name("keys.toml")
    shop.change("[destination]", f'[destination]\ncredentials = "{keys.name}"')
    keys.touch(mode=0o600)
    keys.write_text('site_id = "sandbox"\napi_key = "revoked"\n')


def a_file_that_changed_before_all_was_sent(shop: Shop) -> None:
    """One of its rows is still held, and tonight the file is another."""
    shop.change('recent_events = "send"', 'recent_events = "hold"\nlatest = "2999-01-01"')
    events = shop.inbox / "events-2025-03-01.csv"
    shop.add_row(events.name, "E9999,C0001,signed_in,2998-01-01T00:00:00+00:00")
    assert shop.sync() == 0
    events.write_text(events.read_text("utf-8").replace("E9999", "E8888"), "utf-8")


def a_damaged_journal(shop: Shop) -> None:
    """Something wrote over it."""
    assert shop.sync() == 0
    shop.damage()


def an_export_that_was_cut_short(shop: Shop) -> None:
    """As if most people had left."""
    assert shop.sync() == 0
    customers = shop.inbox / "customers.csv"
    lines = customers.read_text("utf-8").splitlines(keepends=True)
    customers.write_text("".join(lines[:20]), "utf-8")


def a_service_that_lies(shop: Shop) -> None:
    """It said 200, and kept something else."""
    shop.workspace.misbehave(LIES)
    assert shop.sync() == 0


def an_unavailable_service(shop: Shop) -> None:
    """It answers nothing but 503."""
    shop.workspace.misbehave(UNAVAILABLE)


def a_slow_service(shop: Shop) -> None:
    """So slow that the program can be found while it waits."""
    shop.workspace.misbehave(SLOW)


def it_recovers(shop: Shop) -> None:
    """Once the first start has given up."""
    until(lambda: shop.has_ended_with(75))
    shop.workspace.misbehave()


def killed_by(number: int) -> Callable[[Shop], None]:
    """Somebody sends the program a signal while it waits for an answer."""

    def kill(shop: Shop) -> None:
        os.kill(shop.pid(), number)
        shop.workspace.misbehave()

    return kill


@dataclass(frozen=True)
class Case:
    """An exit code, how it comes about, and what an orchestrator makes of it.

    Args:
        code: The exit code; -9: killed without notice.
        before: What is done before the night.
        meanwhile: What is done while it goes on.
        ends: `done`, `warned`, `failed` or `retried`.
        says: What the advice names.
        command: What is run.
        more: More arguments.
    """

    code: int
    before: Callable[[Shop], None]
    meanwhile: Callable[[Shop], None] = nothing
    ends: str = "done"
    says: str = ""
    command: str = "sync"
    more: Sequence[str] = ()


CASES = [
    Case(0, nothing),
    Case(2, a_wrong_setting, ends="failed", says="kind"),
    Case(3, a_row_without_identifier, ends="warned", says="rejected.csv"),
    Case(4, a_wrong_key, ends="failed", says="key"),
    Case(5, a_file_that_changed_before_all_was_sent, ends="failed", says="--restart"),
    Case(6, a_damaged_journal, ends="failed", says="state.db"),
    Case(7, an_export_that_was_cut_short, ends="failed", says="deletes_max"),
    Case(
        8,
        a_service_that_lies,
        ends="failed",
        says="verified.csv",
        command="verify",
        more=("--lag", "1s"),
    ),
    Case(75, an_unavailable_service, it_recovers, ends="retried", more=("--for", "2s")),
    Case(130, a_slow_service, killed_by(signal.SIGINT), ends="retried"),
    Case(143, a_slow_service, killed_by(signal.SIGTERM), ends="retried"),
    Case(-9, a_slow_service, killed_by(signal.SIGKILL), ends="retried"),
]


@pytest.fixture(scope="module")
def _workspace():
    """One sandbox for all."""
    with workspace() as running:
        yield running


@pytest.fixture(scope="module")
def _bucket():
    """One store for all."""
    with stores.s3() as place:
        yield place


@pytest.fixture(scope="class")
def runner(request, tmp_path_factory):
    """The orchestrator that a class of tests is named after."""
    name = request.cls.__name__.removeprefix("Test").lower()
    if name == "kubernetes":
        yield Cluster()
        return
    with playing(name, tmp_path_factory.mktemp(name)) as player:
        yield player


@pytest.fixture
def shop(runner, tmp_path, _workspace, _bucket) -> Shop:
    """Before its first night, and an empty workspace."""
    _workspace.reset()
    if isinstance(runner, Cluster):
        return BucketShop(tmp_path, _workspace, _bucket.below(f"{tmp_path.name}/"))
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


class _Example:
    """What every example does; a class for each orchestrator, so that two run side by side."""

    @pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.ends}")
    def test_it_does_what_the_exit_code_asks_for(self, runner, shop, case):
        """Done, done with a warning, failed at once with the advice, or retried until done."""
        case.before(shop)
        with beside(case.meanwhile, shop):
            ended = runner.run(shop, case.command, *case.more)
        assert ended.succeeded == (case.ends != "failed"), ended.log
        assert ended.was_warned == (case.ends == "warned"), ended.log
        assert (ended.starts > 1) == (case.ends == "retried"), ended.log
        assert case.says in ended.message + ended.log
        if case.ends == "failed":
            assert f"exit {case.code}; " in ended.message
            assert "next: " in ended.message
        else:
            assert len(shop.workspace.people()) == 60
            assert ended.delivered in (60 + 35, None)

    def test_a_night_waits_for_the_last_one(self, runner, shop):
        """The command of the examples says --wait: no second start, and no exit 6."""
        a_slow_service(shop)
        with shop.start():
            shop.pid()
            ended = runner.run(shop, "sync", "--wait", "15m")
        assert (ended.succeeded, ended.starts) == (True, 1), ended.log
        assert "60 unchanged" in ended.log

    def test_a_service_that_stays_away_fails_in_the_end(self, runner, shop):
        """After as many retries as there are, and with the advice."""
        an_unavailable_service(shop)
        ended = runner.run(shop, "sync", "--for", "1s")
        assert (ended.succeeded, ended.starts) == (False, 1 + RETRIES), ended.log
        assert "exit 75; " in ended.message
        assert "next: " in ended.message

    def test_whoever_stops_the_task_stops_the_program(self, runner, shop):
        """It finishes what is in flight and saves its progress. The last: some stop with it."""
        a_slow_service(shop)
        runner.begin(shop, "sync")
        pid = shop.pid()
        runner.stop()
        until(lambda: shop.has_ended_with(128 + runner.signal))
        until(lambda: not Path(f"/proc/{pid}").exists())
        shop.workspace.misbehave()
        assert shop.sync("--wait", "2m") == 0
        assert len(shop.workspace.people()) == 60
        assert shop.workspace.stats()["duplicate_events"] == 0


class TestAirflow(_Example):
    """`airflow_dag.py`, as `airflow dags test` runs it."""


class TestPrefect(_Example):
    """`prefect_flow.py`, on Prefect's own temporary server."""


class TestDagster(_Example):
    """`dagster_asset.py` and `dagster_step.py`, materialized in a process."""


class TestKubernetes(_Example):
    """`kubernetes_cronjob.yaml`: its container's command, and what its policy makes of the end."""
