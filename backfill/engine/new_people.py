"""Who is not in the workspace before an import: whom it creates, as far as anybody can know.

The Track API never says whether a person was created: both are 200 and `{}`. So, where `[import]
undo` asks for it, the App API is asked before the first request, a hundred people at a time.

There is one file, of the last look-up. A plan that replaces another one takes over whom its job may
have created by then, and looks for all others anew: somebody else may have made them meanwhile.
"""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backfill.clock import Clock
from backfill.delivery.app_api_reader import IDS_MAX, AppApiReader, open_app_api_reader
from backfill.delivery.credentials import find_app_key
from backfill.delivery.destination import app_destination
from backfill.delivery.pacing import Time, turns_file
from backfill.encoding.json_text import Mask
from backfill.engine.options import Options, Stop
from backfill.errors import BackfillError, StateError
from backfill.files import PRIVATE_DIRECTORY
from backfill.job import Job
from backfill.planning.people import PEOPLE_FILE
from backfill.planning.plan import Plan
from backfill.sync.catch_up import catch_up, open_snapshot

FOLDER = "new_people"
INCOMPLETE = "undo_incomplete"
"""In the journal's meta: rows were sent before anybody looked."""

_LOOKED_UP = "undo_looked_up"
_AT_ONCE = 8
_ROWS = 65_536
_TOLD = """
SELECT type, identifier, arg_min(looked_up.part, place) AS part, arg_min(row, place) AS row
FROM (SELECT *, part * 1000000000000::HUGEINT + row AS place FROM looked_up) AS looked_up
SEMI JOIN (FROM person WHERE high IS NOT NULL OR refused_high IS NULL) AS told
    USING (type, identifier)
GROUP BY type, identifier
ORDER BY min(place) NULLS FIRST, identifier
"""
_SCHEMA = pa.schema(
    [("type", pa.string()), ("identifier", pa.string()), ("part", pa.int32()), ("row", pa.int64())]
)


async def note_new_people(job: Job, plan: Plan, options: Options, clock: Clock, stop: Stop) -> None:
    """Note who is to be sent and is not in the workspace yet; once for each plan.

    Raises:
        CredentialsError: There is no key of the App API.
        BackfillError: What else stops the look-up; nothing was sent then.
    """
    meta = job.journal.meta
    if meta.get(_LOOKED_UP) == plan.key:
        return
    folder = job.folder / FOLDER
    earlier = _looked_up(job)
    if earlier is None:
        if job.journal.totals().attempts or folder.exists():
            meta[INCOMPLETE] = True
        # Of a journal that was forgotten: its rows are others, and its people are there by now.
        shutil.rmtree(folder, ignore_errors=True)
    settings = job.pipeline.destination
    url, region = str(meta["url"]), settings.region or "us"
    file = job.pipeline.folder / settings.credentials if settings.credentials else None
    key = find_app_key(options.env, file, url)
    time = Time(clock.now_s, asyncio.sleep, clock.jitter)
    loop = asyncio.get_running_loop()
    folder.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    address, outage_max_s = app_destination(url, region), settings.outage_max
    async with open_app_api_reader(address, key, time, outage_max_s) as workspace:

        def give_up(why: BackfillError) -> None:
            loop.call_soon_threadsafe(workspace.stop, why)

        workspace.share(turns_file(f"app-{meta.get('workspace', '')}"))
        # A name of its own until it is whole: a crash leaves nothing that looks like an answer.
        await workspace.probe()  # also where there is nobody to look up
        unfinished = folder / f"{plan.key}.unfinished"
        with (
            stop.heard_by(give_up),
            pq.ParquetWriter(unfinished, _SCHEMA, write_page_checksum=True) as writer,
        ):
            for batch in _told(job, earlier) if earlier else ():
                writer.write_batch(
                    _without_rows(batch.filter(pa.array(_may_be_created(job, batch))))
                )
            for batch in _to_be_sent(job, plan):
                writer.write_batch(batch.filter(pa.array(~await _are_there(workspace, batch))))
    unfinished.replace(folder / f"{plan.key}.parquet")
    meta[_LOOKED_UP] = plan.key
    job.journal.commit()
    if earlier:
        earlier.unlink()


def created(job: Job) -> Iterator[pa.RecordBatch]:
    """The people who were not there before, and were delivered since: type and identifier, once.

    Raises:
        StateError: The file of who was there before is damaged or gone.
    """
    if found := _looked_up(job):
        for batch in _told(job, found):
            yield batch.filter(pa.array(_may_be_created(job, batch, settled=True))).select([0, 1])


def _looked_up(job: Job) -> Path | None:
    """The file of the last look-up; None: there was none.

    Raises:
        StateError: It is damaged or gone.
    """
    key = job.journal.meta.get(_LOOKED_UP)
    if key is None:
        return None
    path = job.folder / FOLDER / f"{key}.parquet"
    try:
        # DuckDB, which reads it next, looks at no checksum.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for _ in file.iter_batches(batch_size=_ROWS):
                pass
    except (pa.ArrowException, OSError) as failure:
        raise _damaged(path) from failure
    return path


def _told(job: Job, looked_up: Path) -> Iterator[pa.RecordBatch]:
    """Those of a look-up whom the job has told something, or may have, each once.

    Whose row is forgotten has none, also where the file names the person twice.
    """
    catch_up(job.journal, job.pipeline, job.folder)
    with open_snapshot(job.journal, job.folder) as snapshot:
        snapshot.see({"looked_up": looked_up})
        yield from snapshot.batches(_TOLD, [], _ROWS)


def _without_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same people, whose rows another plan may number in another way."""
    nothing = [pa.nulls(len(batch), each.type) for each in (_SCHEMA.field(2), _SCHEMA.field(3))]
    return pa.RecordBatch.from_arrays([batch.column(0), batch.column(1), *nothing], schema=_SCHEMA)


def _damaged(path: Path) -> StateError:
    return StateError(
        f"{path}: who was there before the import is damaged or gone: nobody can tell any more"
        " whom it created",
        next_step="restore the state directory from a backup",
    )


def _to_be_sent(job: Job, plan: Plan) -> Iterator[pa.RecordBatch]:
    """The people of the plan who were not sent yet, as _SCHEMA has them."""
    with pq.ParquetFile(job.plan_folder(plan.key).path / PEOPLE_FILE) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=_SCHEMA.names):
            # Nobody is created by a cio_id, which the service gives.
            wanted = pc.is_in(batch.column("type"), value_set=pa.array(["id", "email"]))
            people = batch.filter(wanted)
            parts, rows = (people.column(name).to_numpy() for name in ("part", "row"))
            done = np.zeros(len(rows), np.bool_)
            for part in np.unique(parts).tolist():
                here = parts == part
                done[here] = job.journal.settled(part).contains(rows[here])
            yield people.filter(pa.array(~done))


async def _are_there(workspace: AppApiReader, batch: pa.RecordBatch) -> Mask:
    """Which of n people the workspace has; bool (n,)."""
    found = np.zeros(batch.num_rows, np.bool_)
    for type_ in ("id", "email"):
        places = np.flatnonzero(np.array(batch.column("type").to_pylist(), object) == type_)
        names = batch.column("identifier").take(pa.array(places)).to_pylist()
        asked = [names[at : at + IDS_MAX] for at in range(0, len(names), IDS_MAX)]
        there: set[str] = set()
        for at in range(0, len(asked), _AT_ONCE):
            answers = (workspace.customers(type_, each) for each in asked[at : at + _AT_ONCE])
            for people in await asyncio.gather(*answers):
                there.update(_named(each, type_) for each in people)
        found[places] = [name in there for name in names]
    return found


def _named(person: dict[str, object], type_: str) -> str:
    """The identifier of a person whom the App API knows, as rows are compared by it."""
    own = person.get("identifiers")
    name = str((own.get(type_) if isinstance(own, dict) else None) or person.get(type_) or "")
    return name.lower() if type_ == "email" else name


def _may_be_created(job: Job, batch: pa.RecordBatch, *, settled: bool = False) -> Mask:
    """Which of n people were not refused, as far as their rows are known; bool (n,).

    Args:
        job: Its journal knows what became of them.
        batch: The people, as _SCHEMA has them.
        settled: Only those of settled rows.
    """
    parts = batch.column("part").fill_null(-1).to_numpy()
    rows = batch.column("row").fill_null(-1).to_numpy()
    known = {each.id for each in job.journal.parts()}
    found = np.ones(batch.num_rows, np.bool_)
    for part in known.intersection(np.unique(parts).tolist()):
        here = np.flatnonzero(parts == part)
        rejected = job.journal.rejections_among(part, rows[here])
        found[here] = ~np.isin(rows[here], list(rejected))
        if settled:
            found[here] &= job.journal.settled(part).contains(rows[here])
    return found
