"""How the source was on the nights before: its rows, its columns."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median

from backfill.job import Job
from backfill.planning.guards import Guard, rows_change_answer
from backfill.planning.plan import Plan
from backfill.report.wording import counted

NIGHTS_MAX = 7

_ROWS, _COLUMNS, _HIGHS = "rows_of_nights", "columns", "cursors"


def refusals(job: Job, plan: Plan) -> list[Guard]:
    """What is too different from the nights before to be true."""
    return [*_rows(job, plan), *_columns(job)]


def windows(job: Job, plan: Plan) -> dict[int, int | None]:
    """Since when rows count, for the parts that a cursor reads: unix microseconds; None: all.

    The window begins with the latest row of the last sync, less what it looks back; it ends
    behind the latest row of tonight.
    """
    # Earlier versions let a cursor move past now. Where it should be, nobody knows: all rows are
    # compared, which finds what changed meanwhile.
    highs = {
        source: high
        for source, high in job.journal.meta.get(_HIGHS, {}).items()
        if high <= plan.now_s * 1_000_000
    }
    found: dict[int, int | None] = {}
    for each in job.inputs:
        source = job.pipeline.sources[each.source]
        if source.sync_mode == "cursor":
            high = highs.get(str(each.source))
            back_us = round(source.sync.lookback * 1_000_000)
            found[each.part] = None if high is None else high - back_us
    return found


def note(job: Job, plan: Plan) -> None:
    """Remember how the source was tonight, and which files are done; it is committed with it."""
    meta, journal = job.journal.meta, job.journal
    for index, seen in enumerate(plan.sources):
        if seen.cursor_max is not None and job.limit is None:
            highs = meta.get(_HIGHS, {})
            latest = max(seen.cursor_max, highs.get(str(index), seen.cursor_max))
            meta[_HIGHS] = {**highs, str(index): latest}
    meta[_COLUMNS] = {**meta.get(_COLUMNS, {}), **_columns_of(job)}
    if job.limit is None:
        nights = meta.get(_ROWS, {})
        for index, source in enumerate(job.pipeline.sources):
            if source.sync_mode == "diff":
                known = [*nights.get(str(index), ()), plan.sources[index].rows_read]
                nights = {**nights, str(index): known[-NIGHTS_MAX:]}
        meta[_ROWS] = nights
        read = {each.part for each in job.inputs}
        for part in journal.parts():
            rows = plan.found.rows.get(part.id, 0)
            if part.id in read and journal.settled(part.id).settled_below(rows + 1) == rows:
                journal.update_part(replace(part, rows=rows))
    journal.commit()


def _rows(job: Job, plan: Plan) -> Iterator[Guard]:
    """Exports that fell or grew too much; an empty one is refused whatever was before."""
    for index, source in enumerate(job.pipeline.sources):
        if source.sync_mode != "diff":
            continue
        rows, allowed = plan.sources[index].rows_read, source.sync.rows_change_max
        of_source = f"source {index + 1} ({source.kind})"
        nights = job.journal.meta.get(_ROWS, {}).get(str(index), ())
        usual = round(median(nights)) if nights else 0
        if rows and usual and allowed.reached_by(abs(rows - usual), usual):
            yield Guard(
                "rows_change",
                f"{of_source} has {counted(rows, 'row')}, and had {usual:,} on the nights before:"
                " more difference than rows_change_max",
                rows_change_answer(str(abs(rows - usual))),
            )


def _columns(job: Job) -> Iterator[Guard]:
    """Columns that vanished, or have another type."""
    known: Mapping[str, Mapping[str, str]] = job.journal.meta.get(_COLUMNS, {})
    for index, columns in _columns_of(job).items():
        source = job.pipeline.sources[int(index)]
        before = known.get(index, {})
        gone = sorted(before.keys() - columns.keys())
        other = sorted(
            name for name in before.keys() & columns.keys() if before[name] != columns[name]
        )
        changes = [f"{name!r} is gone" for name in gone]
        changes += [f"{name!r} was {before[name]} and is {columns[name]}" for name in other]
        if changes and source.sync.schema_change == "refuse":
            yield Guard(
                "schema_change",
                f"the columns of source {int(index) + 1} ({source.kind}) have changed:"
                f" {', '.join(changes)}",
                'set schema_change = "accept" under [source.sync] for tonight if that is intended',
            )


def _columns_of(job: Job) -> dict[str, dict[str, str]]:
    """The columns of tonight's files and their types, by source, where a file says them itself."""
    found: dict[str, dict[str, str]] = {}
    for each in job.inputs:
        schema = each.file.schema()
        for name in each.file.columns() or ():
            type_ = "text" if schema is None else str(schema.field(name).type)
            found.setdefault(str(each.source), {})[name] = type_
    return found
