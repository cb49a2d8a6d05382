"""Other processes make of every chunk just what threads make of it, whatever becomes of them."""

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from backfill.cluster import starting
from backfill.cluster import workers as cluster
from backfill.cluster.parcels import (
    FolderShelf,
    Label,
    MemoryShelf,
    Taken,
    frames,
    mapped,
    opened,
    value_of,
)
from backfill.cluster.starting import affordable, local_workers
from backfill.commands.run import RUN
from backfill.delivery.track_delivery import open_delivery
from backfill.engine.options import Options, Silent, Stop
from backfill.engine.prepare import SourceRows
from backfill.engine.run import run_job
from backfill.errors import GuardError, InterruptedRunError, UsageError
from backfill.job import Job, adopt_plan, bind_files
from backfill.journal import Journal
from backfill.judge.chunk_judge import IN_THREADS
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import KINDS
from backfill.planning.guards import refusals
from backfill.sources import parquet
from backfill.sources.inputs import chunks_of, open_inputs
from tests.support.examples import examples
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job, numbered, people
from tests.support.workspaces import workspace
from tests.support.worlds import invent

NOW_S = 1.75e9
NUMBERS = count()
TRANSFORM = """
def clean(frame):
    frame["n"] = frame["n"].str.strip()
    return frame[frame["n"] != "13"]
"""


@pytest.fixture(scope="module")
def workers():
    """Two processes, also for a single chunk."""
    with pytest.MonkeyPatch.context() as patch:
        # On a busy machine one that works may be silent for longer than the ten seconds.
        patch.setitem(starting.DASK_CONFIG, "distributed.scheduler.worker-ttl", "5 minutes")
        with local_workers(2, lambda: None, few=0) as made:
            yield made


def tree(folder):
    """All files below a folder, with what they hold."""
    files = (each for each in sorted(folder.rglob("*")) if each.is_file())
    return {str(each.relative_to(folder)): each.read_bytes() for each in files}


def said(prepared):
    """All that a prepared chunk says, as values that can be compared."""
    left = prepared.left_out
    operations = [
        (each.rows.tolist(), each.column.to_pylist(), each.paths, each.method, each.part)
        for each in prepared.operations
    ]
    merged = [(each.part, each.rows.tolist(), each.carriers.tolist()) for each in left.merged]
    skipped = {why: rows.tolist() for why, rows in left.skipped.items()}
    # The driver's own objects: the chunk did not travel back.
    assert all(each.origin is prepared.chunk for each in prepared.operations)
    span = prepared.place.name, prepared.chunk.first_row, prepared.chunk.end
    return span, operations, merged, skipped, left.rejections, left.held


def done(path, folder, workers):
    """What a plan and all prepared chunks of a job are, with its warnings."""
    pipeline = Pipeline.load(path)
    with Journal.open(folder) as journal:
        inputs = bind_files(open_inputs(pipeline), journal, append=False)
        work = Job(pipeline, inputs, journal, folder, workers=workers)
        plan = adopt_plan(work, now_s=NOW_S, progress=lambda _: None)
        rows = SourceRows(work, plan, NOW_S)
        prepared = [said(each) for kind in KINDS for each in rows.prepared(kind)]
    return tree(folder / "plan"), refusals(pipeline, plan, NOW_S), prepared


@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(5))
def test_the_result_is_the_same_byte_for_byte(workers, tmp_path_factory, seed):
    """Plan, rejections in their order, operations with ids, rows left out, guards."""
    folder = tmp_path_factory.mktemp("world")
    path = invent(folder, seed).pipeline
    assert done(path, folder / "many", workers) == done(path, folder / "one", IN_THREADS)


def test_many_chunks_and_a_transform_give_the_same(workers, tmp_path):
    """The chunks of large files, some of them rejected, and whom a row names."""
    events = HEADER + "".join(
        f"p{n % 50},bought,{'never' if n % 97 == 0 else '2025-01-01'}, {n % 40} \n"
        for n in range(70_000)
    )
    files = {
        "transforms.py": TRANSFORM,
        "customers.csv": people(*(f"p{n % 45}" for n in range(60))),
        "events.csv": events,
    }
    more = (
        'identical_rows = "collapse"\nunknown_people = "reject"\n'
        'transform = "transforms.py:clean"\n'
    )
    path = job(tmp_path, files, CUSTOMERS, EVENTS + more)
    found = done(path, tmp_path / "many", workers)
    assert found == done(path, tmp_path / "one", IN_THREADS)
    assert len(found[2]) > 3


def test_pieces_of_parquet_give_the_same(workers, tmp_path, monkeypatch):
    """Row groups, each read by whoever works on them; in other chunks than one process has."""
    monkeypatch.setattr(parquet, "_PIECE_ROWS_MIN", 1_000)
    rows = range(9_000)
    people_of = {"id": [f"p{n % 8_000}" if n % 300 else "" for n in rows], "n": list(rows)}
    days = [datetime(2025, 1, 1 + n % 28, tzinfo=UTC) for n in rows]
    events = {"id": [f"p{n % 9_500}" for n in rows], "event": ["seen"] * 9_000, "at": days}
    for name, columns in (("customers", people_of), ("events", events)):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet", row_group_size=700)
    table = EVENTS.replace(', timezone = "UTC", format = "iso8601"', "")
    more = '[source.sync]\nmode = "diff"\n'
    path = job(tmp_path, {}, CUSTOMERS, table + 'identical_rows = "keep"\n' + more)
    assert done(path, tmp_path / "many", workers) == done(path, tmp_path / "one", IN_THREADS)


def in_one(prepared):
    """What prepared chunks say together, whatever rows they have each."""
    operations, refused, left = [], [], Counter()
    for (name, *_), made, merged, skipped, rejections, _ in prepared:
        operations += [pair for rows, texts, *_ in made for pair in zip(rows, texts, strict=True)]
        refused += [(name, each.row, each) for each in rejections]
        left.update((name, why, row) for why, rows in skipped.items() for row in rows)
        left.update((name, part, *pair) for part, *two in merged for pair in zip(*two, strict=True))
    return operations, sorted(refused, key=lambda each: each[:2]), left


@pytest.fixture(scope="module")
def sandbox():
    """A workspace to send to."""
    with workspace() as made:
        yield made


def sent(path, folder, sandbox, chosen, **options):
    """What a run is: what came at the sandbox, in any order and once, the figures, the files."""
    sandbox.reset()
    asked = Options(url=sandbox.url, rate=0, env={}, state_dir=folder, restart=True, **options)
    meters = []

    @asynccontextmanager
    async def connect(*given, **more):
        # The workers are there already: a run of so few rows would not start any.
        async with open_delivery(*given, **{**more, "elsewhere": chosen.sending}) as delivery:
            yield delivery
            meters.append(delivery.meter)

    ways = {"connect": connect} if isinstance(chosen, cluster.ProcessWorkers) else {}
    given = replace(asked, chunk_workers=chosen)
    with suppress(GuardError):
        pipeline = Pipeline.load(path)
        asyncio.run(run_job(RUN, pipeline, given, Silent(), Stop(), **ways))
    there = next(folder.glob("*/summary.json")).parent
    summary = json.loads((there / "summary.json").read_text())
    figures = {key: value for key, value in summary.items() if key not in TIMED}
    rejected = [each.read_bytes() for each in sorted(there.glob("rejected.*"))]
    came = {json.dumps(_said(each), sort_keys=True) for each in sandbox.arrivals()}
    people = {name: each["attributes"] for name, each in sandbox.people().items()}
    events = sorted(json.dumps(_said(each), sort_keys=True) for each in sandbox.events())
    return figures, rejected, came, people, events


def _said(arrived):
    # A person without a timestamp is stamped when the request comes.
    when = WHEN if arrived.get("kind", "event") == "event" else WHEN | {"occurred_s"}
    return {key: value for key, value in arrived.items() if key not in when}


TIMED = {"seconds", "rows_per_second", "started_at", "finished_at", "this_run"}
WHEN = {"arrival", "received_s", "request"}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(2), phases=[Phase.generate])
def test_workers_send_what_one_process_sends(workers, sandbox, tmp_path_factory, seed):
    """Operations, ids, refusals and their order, figures: whoever sends them."""
    folder = tmp_path_factory.mktemp("world")
    path = invent(folder, seed).pipeline
    many = sent(path, folder / "many", sandbox, workers)
    assert many == sent(path, folder / "one", sandbox, IN_THREADS)
    assert many[2]


def test_workers_send_batches_of_several_chunks_as_they_are(workers, sandbox, tmp_path):
    """A request may have rows of two chunks, which two workers have made."""
    path = job(tmp_path, {"events.csv": numbered(40_000)}, EVENTS)
    many = sent(path, tmp_path / "many", sandbox, workers)
    assert many == sent(path, tmp_path / "one", sandbox, IN_THREADS)
    assert many[0]["requests"] > 5


def _chunks(folder, rows=100_000):
    path = job(folder, {"events.csv": numbered(rows)}, EVENTS)
    return list(chunks_of(open_inputs(Pipeline.load(path))))


def _rows(given):
    return given[1].rows.sum().item(), os.getpid()


class _Kills:
    """Kills the process that works on the chunk of a row, so many times, unless it is `here`."""

    def __init__(self, row: int, folder: Path, times: int) -> None:
        self.row, self.folder, self.times, self.here = row, folder, times, os.getpid()

    def __call__(self, given):
        marks = len(list(self.folder.glob("kill-*")))
        if given[1].first_row == self.row and marks < self.times and os.getpid() != self.here:
            (self.folder / f"kill-{marks}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return _rows(given)


@pytest.mark.parametrize(
    ("times", "kills", "cut", "here"),
    [(1, 1, False, False), (2, 2, True, False), (99, 3, True, True)],
)
def test_a_chunk_whose_worker_dies_is_worked_on_again(workers, tmp_path, times, kills, cut, here):
    """Elsewhere, once; then in halves; a half that kills again, here. In order, none twice."""
    chunks = _chunks(tmp_path)
    row = chunks[1][1].first_row
    made = list(workers.map(_Kills(row, tmp_path, times), chunks))
    assert sum(rows for rows, _ in made) == sum(chunk.rows.sum() for _, chunk in chunks)
    # A chunk that waited at a worker that died has a part in its fate.
    assert len(made) >= len(chunks) + cut
    assert (os.getpid() in {pid for _, pid in made}) is here
    assert len(list(tmp_path.glob("kill-*"))) == kills


def test_a_piece_that_kills_is_read_in_halves(workers, tmp_path):
    """Each by a worker; and what it was made of is whole."""
    path = job(tmp_path, {"events.csv": numbered(90_000)}, EVENTS)
    inputs = open_inputs(Pipeline.load(path))
    made = list(workers.read(_Kills(1, tmp_path, 2), inputs))
    assert sum(rows for rows, _ in made) == 90_000 * 90_001 // 2
    assert os.getpid() not in {pid for _, pid in made}
    assert len(list(tmp_path.glob("kill-*"))) == 2


def test_chunks_that_a_transform_is_promised_stay_whole(workers, tmp_path):
    """What kills two workers is then worked on here."""
    asked = cluster.ProcessWorkers(lambda: None, whole={0})
    asked.crew = workers.crew
    (given,) = _chunks(tmp_path, 100)
    made = list(asked.map(_Kills(1, tmp_path, 99), [given]))
    assert made == [(given[1].rows.sum(), os.getpid())]


def tables(tree):
    """The files of a plan, tables as what they hold; without their digests.

    And without those who are named by rejected rows alone: by chunk, some are among the others too.
    """
    out = ("manifest.json", "named.parquet")
    files = {name: data for name, data in tree.items() if not name.endswith(out)}
    return {
        name: pq.read_table(pa.BufferReader(data)) if name.endswith("parquet") else data
        for name, data in files.items()
    }


class InHalves:
    """Works on each half of every chunk, as workers do with chunks that killed some of them."""

    def map(self, work, chunks, ahead=0):
        """The results, in order."""
        del ahead
        for place, chunk in chunks:
            for half in chunk.halves() or (chunk,):
                yield work((place, half))

    def read(self, work, inputs, ahead=0, *, small=False):
        """The same of files."""
        del small
        return self.map(work, chunks_of(inputs), ahead)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(2))
def test_halves_of_chunks_give_the_same(tmp_path_factory, seed):
    """The plan, in which a table may be cut elsewhere, and every operation."""
    folder = tmp_path_factory.mktemp("world")
    path = invent(folder, seed).pipeline
    one, halves = done(path, folder / "one", IN_THREADS), done(path, folder / "cut", InHalves())
    assert tables(halves[0]) == tables(one[0])
    assert halves[1] == one[1]
    assert in_one(halves[2]) == in_one(one[2])
    assert len(halves[2]) > len(one[2])


def _slowly(given):
    signal.sigtimedwait([signal.SIGUSR1], 0.1)
    return _rows(given)


def test_all_workers_may_be_killed_at_once_and_again(workers, tmp_path, monkeypatch):
    """Nothing is lost or comes twice, also where they take longer to start than they are missed."""
    monkeypatch.setattr(cluster, "LOOKS_SHORT_MAX", 1)
    chunks = _chunks(tmp_path) * 3
    killed = []

    def given():
        for number, each in enumerate(chunks):
            if number in (3, 8):
                pids = [nanny.pid for nanny in workers.crew.cluster.workers.values() if nanny.pid]
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                killed.extend(pids)
            yield each

    made = list(workers.map(_slowly, given()))
    # Some may have been lost twice, and come in halves.
    assert sum(rows for rows, _ in made) == sum(chunk.rows.sum() for _, chunk in chunks)
    assert len(killed) >= 2
    assert made[-1][1] != os.getpid(), "workers were given up"


def _fails(given):
    raise UsageError(f"row {given[1].first_row}", next_step="do something")


def _breaks(given):
    raise ValueError(given[1].batch.column(0)[0].as_py())


def test_what_stops_a_worker_stops_the_run_here(workers, tmp_path):
    """One of our errors as it is; any other without the values that its text may hold."""
    chunks = _chunks(tmp_path, 10)
    with pytest.raises(UsageError, match="row 1") as caught:
        list(workers.map(_fails, chunks))
    assert caught.value.next_step == "do something"
    with pytest.raises(Exception, match="ValueError") as broken:
        list(workers.map(_breaks, chunks))
    assert chunks[0][1].batch.column(0)[0].as_py() not in str(broken.value).split()


def test_a_run_that_is_to_stop_waits_for_no_worker(workers, tmp_path):
    """Not even for one that takes long."""
    stop = InterruptedRunError("interrupted")

    def check():
        raise stop

    asked = cluster.ProcessWorkers(lambda: None, check)
    asked.crew = workers.crew
    with pytest.raises(InterruptedRunError):
        list(asked.map(_sleeps, _chunks(tmp_path, 10)))


def _sleeps(_):
    signal.sigtimedwait([signal.SIGUSR1], 2)


def test_results_that_nobody_takes_leave_nothing_behind(workers, tmp_path):
    """Whoever stops half-way has the parcels of all chunks taken back."""
    with closing(workers.map(_rows, _chunks(tmp_path))) as made:
        next(made)
    links = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.exists()]
    assert not [each for each in links if "memfd:backfill" in str(each)]


def test_few_chunks_start_no_process(tmp_path):
    """A small job is done before a worker is there."""

    def never():
        raise AssertionError("started")

    some = cluster.ProcessWorkers(never)
    assert [pid for _, pid in some.map(_rows, _chunks(tmp_path, 10))] == [os.getpid()]
    some.close()


def test_memory_and_cores_say_how_many_workers_there_can_be():
    """At least one, and no more than either allows."""
    assert affordable(0) == 1
    assert affordable(10**15) == len(os.sched_getaffinity(0))


def test_a_parcel_holds_a_slice_of_a_table_and_nothing_around_it(tmp_path):
    """In memory or in a file; what the receiver has already is not sent."""
    table = pa.record_batch({"a": pa.array([f"value {n}" for n in range(100_000)])})
    few, known = table.slice(500, 3), object()
    sent = b"".join(frames((few, known), {"it": known}))
    assert len(sent) < 10_000
    assert value_of(sent, {"it": known}) == (few, known)
    for shelf in (MemoryShelf(), FolderShelf.made_in(tmp_path / "scratch")):
        parcel = shelf.put((few, 7))
        assert opened(parcel.label) == (few, 7)
        other = parcel.label._replace(token="0" * 32)
        with pytest.raises(FileNotFoundError):
            opened(other)
        parcel.remove()
        assert not Path(parcel.label.path).exists()


def test_what_another_process_has_in_place_of_a_parcel_is_none(tmp_path):
    """The number of a worker that was killed may be anybody's: a pipe there is not waited for."""

    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    reader, writer = os.pipe()
    (tmp_path / "empty").touch()
    (tmp_path / "other").write_bytes(b"anything" * 100)
    with (
        closing(socket.socket()) as plug,
        open(os.devnull, "rb") as null,  # noqa: PTH123
        (tmp_path / "empty").open("rb") as empty,
        (tmp_path / "other").open("rb") as other,
    ):
        for each in (reader, writer, plug.fileno(), null.fileno(), empty.fileno(), other.fileno()):
            label = Label(f"/proc/{os.getpid()}/fd/{each}", "0" * 32)
            for take in (mapped, opened, Taken(in_memory=True).open):
                before = descriptors()
                with pytest.raises(FileNotFoundError):
                    take(label)
                assert descriptors() == before
    os.close(reader)
    os.close(writer)


def test_a_parcel_that_was_taken_is_found_by_where_its_bytes_lie(tmp_path):
    """As long as any of them is in use; then nothing is found there, and nothing is left."""
    for shelf, taken in (
        (MemoryShelf(), Taken(in_memory=True)),
        (FolderShelf.made_in(tmp_path / "scratch"), Taken(in_memory=False)),
    ):
        for _ in range(50):
            parcel = shelf.put(pa.array(["x" * 50_000, "y" * 50_000]))
            label = parcel.label
            value = taken.open(label)
            if shelf.name is None:
                parcel.remove()
            else:
                parcel.close()
            data = memoryview(value.buffers()[2])
            found, begin = taken.place(data)
            assert mapped(found)[begin : begin + len(data)] == data
            assert taken.place(data[70_000:])[1] == begin + 70_000
            assert taken.place(bytes(10)) is None
            del value, data
            with pytest.raises(FileNotFoundError):
                mapped(found)
    assert not list((tmp_path / "scratch").glob("*/*"))
