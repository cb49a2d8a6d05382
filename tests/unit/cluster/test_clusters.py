"""Workers of a cluster that is somebody else's: looked at before they are given anything."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import tomllib
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from backfill.clock import Clock
from backfill.cluster import starting as cluster
from backfill.cluster import workers as workers_module
from backfill.cluster.bucket_shelf import BucketShelf
from backfill.cluster.parcels import FolderShelf, Taken, opened, shelf_at
from backfill.commands.run import RUN
from backfill.engine.options import Options, Silent, Stop, with_workers
from backfill.engine.run import run_job
from backfill.errors import UnavailableError, UsageError
from backfill.judge.chunk_judge import IN_THREADS
from backfill.pipeline.file import Pipeline
from backfill.pipeline.file_settings import StorageSettings
from backfill.sandbox.behaviour import SandboxSettings
from backfill.sandbox.server import running
from backfill.sources import delimited
from backfill.sources.inputs import chunks_of, open_inputs
from backfill.sources.stores import connected
from backfill.sources.urls import ObjectUrl
from tests.support.jobs import EVENTS, job, numbered
from tests.support.programs import until
from tests.support.stores import ENVIRONMENT, s3

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
    shelf = FolderShelf.made_in(tmp_path / "scratch")
    asked = scheduler.scheduler_address, lambda: None, shelf, [Path("/nowhere")]
    with (
        pytest.raises(UsageError, match=r"worker tcp://\S+ cannot read /nowhere"),
        cluster.cluster_workers(*asked),
    ):
        pass
    assert list((tmp_path / "scratch").iterdir()) == []


def test_workers_that_cannot_write_are_refused(scheduler):
    """The worker and the scratch folder are named."""
    asked = scheduler.scheduler_address, lambda: None, FolderShelf(Path("/nowhere/there")), []
    with (
        pytest.raises(UsageError, match=r"worker tcp://\S+ cannot write to /nowhere/there"),
        cluster.cluster_workers(*asked),
    ):
        pass


@pytest.fixture
def bucket(monkeypatch):
    """A bucket, whose keys are in the environment."""
    with s3() as place:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        yield place


def test_parcels_may_lie_in_a_bucket(tmp_path, bucket):
    """For machines that share no disk: the run is as any other, and nothing stays there."""
    storage = tomllib.loads(bucket.settings)
    settings = f"[storage]\n{bucket.settings}\n{EVENTS}"
    pipeline = Pipeline.load(job(tmp_path, {"events.csv": numbered(5_000)}, settings))
    here = {"n_workers": 1, "processes": False, "scheduler_kwargs": QUIET, "silence_logs": 60}
    with running(SandboxSettings()) as there, LocalCluster(**here) as made:
        key = {"CUSTOMERIO_SITE_ID": "sandbox", "CUSTOMERIO_API_KEY": "sandbox"}
        more = {"cluster": made.scheduler_address, "scratch": f"{bucket.base}scratch"}
        asked = Options(url=there.url, rate=0, env=key, **more)
        with with_workers(pipeline, asked, Stop()) as options:
            asyncio.run(run_job(RUN, pipeline, options, Silent(), Stop()))
        with pytest.raises(
            UsageError, match=r"cannot write to --scratch: \S+ there is no such bucket"
        ):
            _had(pipeline, replace(asked, scratch="s3://nowhere-at-all/scratch"))
    folder = tmp_path / ".backfill" / "job"
    status = json.loads((folder / "status.json").read_text())
    assert sum(each["requests"] for each in status["workers"]) == 2
    assert json.loads((folder / "summary.json").read_text())["delivered"] == 5_000
    url = ObjectUrl.parse(bucket.base)
    assert connected(url, StorageSettings(**storage), Clock(), 5.0).below("scratch/") == []


def _rows_and_process(given):
    return len(given[1].rows), os.getpid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_a_worker_cannot_read_is_read_here(tmp_path, bucket, monkeypatch):
    """It is refused at the start; later the driver reads, and the worker works on what it read."""
    monkeypatch.setattr(delimited, "_PIECE_ROWS", 1)  # of one block each
    rows = 200_000
    events = EVENTS.replace("events*.*", "there/events.csv")
    pipeline = Pipeline.load(job(tmp_path, {}, f"[storage]\n{bucket.settings}\n{events}"))
    there = tmp_path / "there"
    there.mkdir(0o700)
    (there / "events.csv").write_text(numbered(rows))
    inputs = open_inputs(pipeline)
    with LocalCluster(n_workers=1, scheduler_kwargs=QUIET, silence_logs=60) as made:
        options = Options(cluster=made.scheduler_address, scratch=f"{bucket.base}scratch")
        with with_workers(pipeline, options, Stop()) as asked, Client(made) as client:
            work = asked.chunk_workers.read
            (theirs,) = {pid for _, pid in work(_rows_and_process, inputs)}
            client.run(os.setuid, 65_534)
            found = list(work(_rows_and_process, inputs))
        with pytest.raises(UsageError, match=rf"worker tcp://\S+ cannot read {tmp_path}"):
            _had(pipeline, options)
    assert sum(count for count, _ in found) == rows
    assert {pid for _, pid in found} == {theirs, os.getpid()}


def _is_there(label):
    with suppress(FileNotFoundError):
        return opened(label) is not None
    return False


def test_a_parcel_in_a_bucket_is_found_by_its_label_alone(bucket):
    """By a process that knows no settings; one that was taken away is gone for all."""
    storage = StorageSettings(**tomllib.loads(bucket.settings))
    shelf = BucketShelf.made_in(f"{bucket.base}scratch", storage)
    parcels = [shelf_at(shelf.name).put({"n": number}) for number in range(3)]
    for number, each in enumerate(parcels):
        assert opened(each.label) == Taken(in_memory=False).open(each.label) == {"n": number}
    until(lambda: not _is_there(parcels[0].label))  # who took it has let it go
    parcels.append(shelf.put("more"))
    shelf.clear()
    with pytest.raises(FileNotFoundError):
        opened(parcels[-1].label)


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
        shelf = FolderShelf.made_in(tmp_path / "scratch")
        asked = lost.scheduler_address, lambda: None, shelf, [tmp_path]

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
