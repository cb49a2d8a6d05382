"""Events that are older than activities are shown: proved by segments, where there are some.

A segment that is named `backfill: NAME`, with the condition "has performed NAME at least once",
holds everybody who ever did. Whoever was sent such an event must be in it. That proves one event of
each person; how many more there are no segment tells.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from backfill.sync.snapshot import Snapshot
from backfill.verification.findings import Findings, Subject

PREFIX = "backfill: "
_BUILT = (None, "", "finished")
"""The states of a segment that can be asked: one that is being built lacks people."""

_MEMBERS = pa.schema([("name", pa.string()), ("type", pa.string()), ("key", pa.string())])
_PEOPLE = """
SELECT sent.*, member.key IS NOT NULL AS there, CASE
    WHEN gone.key IS NOT NULL THEN 'deleted'
    WHEN sent.corrected THEN 'corrected'
    WHEN member.key IS NOT NULL AND recent.key IS NOT NULL THEN 'older_than_30_days'
    ELSE '' END AS doubt
FROM (
    SELECT type, key, name, any_value(identifier) AS identifier, count(*) AS events,
        bool_or(corrected) AS corrected, arg_min(part, place) AS part, arg_min(row, place) AS row
    FROM (SELECT *, part * 1000000000000::HUGEINT + row AS place FROM sent_older)
    GROUP BY type, key, name
) AS sent
LEFT JOIN (SELECT DISTINCT name, type, key FROM members) AS member
    ON member.name = sent.name AND member.type = sent.type AND member.key = sent.key
LEFT JOIN (SELECT DISTINCT name, type, key FROM sent_events) AS recent
    ON recent.name = sent.name AND recent.type = sent.type AND recent.key = sent.key
LEFT JOIN (SELECT DISTINCT type, key FROM sent_deletions) AS gone
    ON gone.type = sent.type AND gone.key = sent.key
ORDER BY sent.name, sent.part, sent.row
"""
_STREAM_ROWS = 10_000


class Segments(Protocol):
    """Answers questions about segments; see `backfill.delivery.app_api_reader`."""

    async def segments(self) -> list[dict[str, Any]]:
        """The segments of the workspace."""

    async def members(self, segment: int, start: str) -> tuple[list[dict[str, Any]], str]:
        """A page of who is in one, and where the next page begins."""


async def segments_of_events(workspace: Segments) -> dict[str, int]:
    """The numbers of the segments that prove events, by the events' names."""
    found = {}
    for each in await workspace.segments():
        name, number = str(each.get("name", "")), each.get("id")
        is_built = each.get("state") in _BUILT
        if name.startswith(PREFIX) and is_built and isinstance(number, int):
            found[name.removeprefix(PREFIX).strip()] = number
    return found


async def read_older(
    workspace: Segments,
    segments: Mapping[str, int],
    snapshot: Snapshot,
    folder: Path,
    findings: Findings,
) -> None:
    """Hold the older events that were sent against the members of segments.

    Args:
        workspace: Is asked.
        segments: The numbers of the segments, by the events' names.
        snapshot: Sees the files of what was sent.
        folder: Where the members are kept meanwhile.
        findings: Take what is found.
    """
    if not segments:
        return
    path = folder / "members.parquet"
    with pq.ParquetWriter(path, _MEMBERS, compression="lz4") as file:
        for name, number in segments.items():
            start = ""
            while True:
                before = start
                page, start = await workspace.members(number, start)
                file.write_batch(_members(name, page))
                if not page or start in ("", before):
                    break
    snapshot.see({"members": path})
    for each in _rows(snapshot):
        _note(each, findings)


def _members(name: str, page: list[dict[str, Any]]) -> pa.RecordBatch:
    known = [
        (name, type_, str(value).lower() if type_ == "email" else str(value))
        for each in page
        for type_ in ("id", "email", "cio_id")
        if (value := each.get(type_))
    ]
    columns = [pa.array([each[place] for each in known], pa.string()) for place in range(3)]
    return pa.RecordBatch.from_arrays(columns, schema=_MEMBERS)


def _note(person: dict[str, Any], findings: Findings) -> None:
    """Say how the events of one name of one person stand."""
    subject = Subject("events", person["identifier"], person["part"], person["row"])
    doubt, events = person["doubt"], person["events"]
    if doubt:
        findings.cannot_be_proved("events", doubt, events)
    elif not person["there"]:
        why = f"{events} times {person['name']}: not in the segment {PREFIX}{person['name']}"
        findings.missing(subject, why, events)
    else:
        findings.equal("events")
        findings.cannot_be_proved("events", "only_one_proved", events - 1)


def _rows(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    for batch in snapshot.batches(_PEOPLE, [], _STREAM_ROWS):
        yield from batch.to_pylist()
