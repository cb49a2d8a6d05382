"""The evidence of a job as one file: what was read, how, and what became of every row.

    report.html       the report              summary.json   the figures
    pipeline.toml     the pipeline file       sources.json   each file: size, digest, rows
    dates.json        how each column of timestamps was read, and why
    rejected.csv      every rejected row: file, row, line, field and reason
    verified.json     what was read back: counts, and where something differs; no value
    runs.json         every run, and what it did
    versions.json     what it was made with
    MANIFEST.sha256   the SHA-256 sum of each, as `sha256sum -c` reads it

Cells of rows, what the API said about them, and `verified.csv` itself are in it only where somebody
asks for them.
"""

import csv
import hashlib
import io
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import orjson

from backfill.files import write_atomically
from backfill.journal import Journal, Part
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import Plan
from backfill.rejected.safe_cells import shown
from backfill.report.redaction import Redaction, versions
from backfill.report.summary import Summary
from backfill.report.verified import VERIFIED_FILE

BUNDLE_FILE = "evidence.zip"
MANIFEST = "MANIFEST.sha256"
_WEBHOOK = re.compile(
    rb"""(\bwebhook["']?\s*=\s*)(\"{3}.*?\"{3}|\'{3}.*?\'{3}|"(?:[^"\\]|\\.)*"|'[^']*')""",
    re.DOTALL,
)
_HEADER = ("source", "row", "line", "field", "reason", "message", "cells")
_ROWS_TOGETHER = 10_000


@dataclass(frozen=True, slots=True)
class JobEvidence:
    """What is known of a job that does not run.

    Args:
        pipeline: The settings.
        journal: What became of the rows, and every run; nothing in it is changed.
        plan: What was found before; None: nothing was.
        summary: What became of the rows, in figures.
        report: The report, which leaves out the same.
        redaction: What is left out.
    """

    pipeline: Pipeline
    journal: Journal
    plan: Plan | None
    summary: Summary
    report: Path
    redaction: Redaction

    @property
    def parts(self) -> Iterator[Part]:
        """The files of the sources; a sync makes others, whose rows are people to be deleted."""
        own = len(self.pipeline.sources)
        return (each for each in self.journal.parts() if each.source < own)


def write_bundle(folder: Path, evidence: JobEvidence) -> Path:
    """Write it into a job's directory, and name it.

    Raises:
        OSError: The disk is full, or the directory cannot be written to.
    """
    path = folder / BUNDLE_FILE

    def write(file: BinaryIO) -> None:
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            bundle = _Bundle(archive)
            for name, pieces in _contents(evidence):
                bundle.add(name, pieces)
            bundle.add(MANIFEST, [bundle.manifest()])

    write_atomically(path, write)
    return path


class _Bundle:
    """An archive that knows the sums of what is in it; the same content makes the same bytes."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self._sums: dict[str, str] = {}

    def add(self, name: str, pieces: Iterable[bytes]) -> None:
        """Add a file, piece by piece: rejected rows may be many."""
        sum_ = hashlib.sha256()
        entry = ZipInfo(name)  # with no time of its own
        entry.compress_type = ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        with self._archive.open(entry, "w", force_zip64=True) as file:
            for piece in pieces:
                sum_.update(piece)
                file.write(piece)
        self._sums[name] = sum_.hexdigest()

    def manifest(self) -> bytes:
        """A line for each file so far."""
        return "".join(f"{sum_}  {name}\n" for name, sum_ in self._sums.items()).encode()


def _contents(known: JobEvidence) -> Iterator[tuple[str, Iterable[bytes]]]:
    redaction = known.redaction
    yield "report.html", [known.report.read_bytes()]
    yield "summary.json", [_json(_without_names(known.summary.as_dict(), redaction))]
    # It names files, columns and events throughout.
    if redaction.redact != "all" and (text := _pipeline_text(known.pipeline)):
        yield "pipeline.toml", [text]
    yield "sources.json", [_json(list(_sources(known)))]
    yield "dates.json", [_json(list(_dates(known.plan, redaction)))]
    yield "rejected.csv", _rejected(known)
    if known.summary.verification is not None:
        yield "verified.json", [_json(_verified(known))]
        if redaction.shows_values and (listed := _verified_file(known)).exists():
            yield VERIFIED_FILE, [listed.read_bytes()]
    yield "runs.json", [_json(list(_runs(known.journal)))]
    yield "versions.json", [_json(versions())]


def _pipeline_text(pipeline: Pipeline) -> bytes:
    """The pipeline file but for its webhook, which is as good as a password; empty: it is in it."""
    text = pipeline.path.read_bytes()
    if pipeline.notify is None or pipeline.notify.webhook is None:
        return text
    shown = _WEBHOOK.sub(rb'\1"left out"', text)
    # A key may be written in more ways than anybody looks for.
    is_left_out = tomllib.loads(shown.decode("utf-8-sig"))["notify"].get("webhook") == "left out"
    return shown if is_left_out else b""


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _without_names(summary: dict[str, Any], redaction: Redaction) -> dict[str, Any]:
    """A summary whose files are called as elsewhere in the bundle."""
    for each in (*summary["sources"], *summary["this_run"].get("sources", ())):
        each["files"] = [redaction.file(name) for name in each["files"]]
    if found := summary.get("verification"):
        found["by_field"] = {redaction.column(name): n for name, n in found["by_field"].items()}
    return summary


def _sources(known: JobEvidence) -> Iterator[dict[str, Any]]:
    planned = known.plan.found.rows if known.plan else {}
    for part in known.parts:
        yield {
            "source": part.source + 1,
            "kind": known.pipeline.sources[part.source].kind,
            "file": known.redaction.file(part.path),
            "bytes": part.size,
            "digest": part.digest,
            # The journal counts rows only of files that a sync has finished with.
            "rows": planned.get(part.id, part.rows),
        }


def _dates(plan: Plan | None, redaction: Redaction) -> Iterator[dict[str, Any]]:
    for each in plan.found.decisions if plan else ():
        said = asdict(each) | {"source": each.source + 1, "column": redaction.column(each.column)}
        if not redaction.shows_values:  # they quote values of the column
            del said["readings"]
        if redaction.redact == "all":
            del said["key"], said["doubt"]
        yield said


def _verified_file(known: JobEvidence) -> Path:
    return known.report.with_name(VERIFIED_FILE)


def _verified(known: JobEvidence) -> dict[str, Any]:
    """What a verification found, and how often each field of each file is not as it was sent."""
    redaction, listed = known.redaction, Counter[tuple[str, ...]]()
    with suppress(FileNotFoundError), _verified_file(known).open(encoding="utf-8-sig") as file:
        for line in csv.DictReader(file):
            source, field = redaction.file(line["_source"]), redaction.column(line["_field"])
            listed[line["_found"], line["_kind"], source, field] += 1
    return {
        **_without_names(known.summary.as_dict(), redaction)["verification"],
        "listed": [
            {"found": found, "kind": kind, "source": source, "field": field, "lines": count}
            for (found, kind, source, field), count in sorted(listed.items())
        ],
    }


def _runs(journal: Journal) -> Iterator[dict[str, Any]]:
    for run in journal.runs.all():
        did = dict((run.summary or {}).get("this_run", {}))
        did.pop("sources", None)
        yield {
            "run": run.id,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "exit": run.exit,
            "did": did,
        }


def _rejected(known: JobEvidence) -> Iterator[bytes]:
    """A line for each reason of each rejected row."""
    redaction = known.redaction
    names = {part.id: redaction.file(part.path) for part in known.parts}
    lines: list[Sequence[Any]] = [_HEADER]
    for part, each in known.journal.rejections():
        for why in each.reasons:
            line = [
                names.get(part, "(vanished)"),
                each.row,
                each.line or "",
                shown(redaction.column(why.field)),
                why.code,
                # What the API says may repeat what it was sent.
                shown(why.message) if redaction.shows_values else "",
                shown(dict(each.cells)) if redaction.shows_values else "",
            ]
            lines.append(line)
        if len(lines) >= _ROWS_TOGETHER:
            yield _csv(lines)
            lines = []
    yield _csv(lines)


def _csv(lines: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
