"""Workers of a cluster that is somebody else's: looked at before they are given anything."""

import asyncio
import json
import logging
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import LocalCluster

from backfill.cluster import starting as cluster
from backfill.cluster import workers as workers_module
from backfill.commands.run import RUN
from backfill.engine.options import Options, Silent, Stop, with_workers
from backfill.engine.run import run_job
from backfill.errors import UnavailableError, UsageError
from backfill.judge.chunk_judge import IN_THREADS
from backfill.pipeline.file import Pipeline
from backfill.sandbox.behaviour import SandboxSettings
from backfill.sandbox.server import running
from backfill.sources.inputs import chunks_of, open_inputs
from tests.support.jobs import EVENTS, job, numbered

QUIET = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def scheduler():
    """A scheduler with one worker."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, scheduler_kwargs=QUIET, silence_logs=60
    ) as made:
        yield made


@pytest.fixture
def asked(tmp_path, scheduler):
    """A job, and options that ask for that cluster."""
    pipeline = Pipeline.load(job(tmp_path, {"events.csv": numbered(50)}, EVENTS))
    scratch = str(tmp_path / "scratch")
    return pipeline, Options(cluster=scheduler.scheduler_address, scratch=scratch)


def _had(pipeline, options):
    with with_workers(pipeline, options, Stop()) as made:
        return list(made.chunk_workers.read(_rows, open_inputs(pipeline)))


def _rows(given):
    return given[1].rows.tolist()


def test_workers_of_a_cluster_do_the_work(asked, tmp_path):
    """Its chunks lie in the scratch folder meanwhile, and nothing stays there."""
    assert _had(*asked) == [list(range(1, 51))]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_workers_of_another_version_are_refused(asked, monkeypatch):
    """Both versions are named, before a row is read."""
    monkeypatch.setattr(cluster, "VERSION", "9.9")
    with pytest.raises(UsageError, match=r"worker tcp://\S+ has backfill \d\S*, and .* 9\.9"):
        _had(*asked)


def test_workers_that_cannot_read_the_job_are_refused(scheduler, tmp_path):
    """The worker and the folder are named."""
    asked = scheduler.scheduler_address, lambda: None, tmp_path / "scratch", [Path("/nowhere")]
    with (
        pytest.raises(UsageError, match=r"worker tcp://\S+ cannot read /nowhere"),
        cluster.cluster_workers(*asked),
    ):
        pass


def test_workers_that_cannot_write_are_refused(asked, monkeypatch):
    """The worker and the scratch folder are named."""
    pipeline, options = asked
    monkeypatch.setattr(cluster, "_shelf", lambda _: cluster.Shelf())
    with pytest.raises(UsageError, match=r"worker tcp://\S+ cannot write to /nowhere/there"):
        _had(pipeline, replace(options, scratch="/nowhere/there"))


def test_a_scheduler_without_workers_is_waited_for_not_long(asked, monkeypatch):
    """Then the next step says how to start some."""
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    pipeline, options = asked
    with (
        LocalCluster(n_workers=0, scheduler_kwargs=QUIET, silence_logs=60) as empty,
        pytest.raises(UnavailableError, match="no workers"),
    ):
        _had(pipeline, replace(options, cluster=empty.scheduler_address))
    with pytest.raises(UnavailableError, match="no Dask scheduler answers"):
        _had(pipeline, replace(options, cluster="tcp://127.0.0.1:1"))


def test_without_dask_the_command_that_installs_it_is_told(asked, monkeypatch):
    """One process needs nothing of it."""
    pipeline, options = asked
    monkeypatch.delitem(sys.modules, "backfill.cluster.starting")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with with_workers(pipeline, Options(), Stop()) as made:
        assert made.chunk_workers is IN_THREADS
    for some in (options, Options(workers=2)):
        with pytest.raises(UsageError) as caught:
            _had(pipeline, some)
        assert "pip install 'backfill[cluster]'" in caught.value.next_step


def test_a_cluster_that_is_lost_ends_the_run_to_be_resumed(tmp_path):
    """With 75, and not by waiting for ever."""
    pipeline = Pipeline.load(job(tmp_path, {"events.csv": numbered(50)}, EVENTS))
    chunks = list(chunks_of(open_inputs(pipeline)))
    with LocalCluster(n_workers=1, scheduler_kwargs=QUIET, silence_logs=60) as lost:
        asked = lost.scheduler_address, lambda: None, tmp_path / "scratch", [tmp_path]

        def given():
            yield chunks[0]
            lost.close()
            yield chunks[0]

        with pytest.raises(UnavailableError), cluster.cluster_workers(*asked) as made:
            list(made.map(_rows, given()))


def test_the_key_reaches_workers_and_nothing_else(tmp_path, caplog):
    """No log, be it of each message, no task, and not what the scheduler remembers."""
    caplog.set_level(logging.DEBUG)
    pipeline = Pipeline.load(job(tmp_path, {"events.csv": numbered(5_000)}, EVENTS))
    key = {"CUSTOMERIO_SITE_ID": "sandbox", "CUSTOMERIO_API_KEY": "canary-of-a-key"}
    here = {"n_workers": 1, "processes": False, "scheduler_kwargs": QUIET, "silence_logs": 10}
    with running(SandboxSettings(api_key="canary-of-a-key")) as there, LocalCluster(**here) as made:
        logging.getLogger("distributed").setLevel(logging.DEBUG)
        more = {"cluster": made.scheduler_address, "scratch": str(tmp_path / "scratch")}
        asked = Options(url=there.url, rate=0, env=key, **more)
        with with_workers(pipeline, asked, Stop()) as options:
            logging.getLogger("distributed").setLevel(logging.DEBUG)
            asyncio.run(run_job(RUN, pipeline, options, Silent(), Stop()))
        scheduler = made.scheduler
        remembered = [*scheduler.transition_log, *scheduler.tasks.values(), scheduler.get_events()]
        workers = [each.state.log for each in made.workers.values()]
    status = json.loads((tmp_path / ".backfill/job/status.json").read_text())
    assert sum(each["requests"] for each in status["workers"]) == 2
    assert "Message from" in caplog.text
    everything = caplog.text + repr(remembered) + repr(workers)
    for secret in ("canary-of-a-key", b64encode(b"sandbox:canary-of-a-key").decode()):
        assert secret not in everything


def test_the_key_is_told_over_no_open_network():
    """Only workers of this machine, and those to whom the connection is encrypted, may know it."""
    assert workers_module.is_private("tls://10.1.2.3:4000")
    assert workers_module.is_private("tcp://127.0.0.1:4000")
    assert workers_module.is_private("tcp://[::1]:4000")
    assert workers_module.is_private("inproc://10.1.2.3/1/2")
    assert not workers_module.is_private("tcp://10.1.2.3:4000")
    assert not workers_module.is_private("ws://10.1.2.3:4000")


def test_one_process_loads_nothing_of_it():
    """Whatever command runs."""
    code = (
        "import sys, backfill.cli.session, backfill.commands.run, backfill.commands.sync\n"
        "print([m for m in sys.modules if m.startswith(('dask', 'distr', 'backfill.cluster'))])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
