"""Figures for Prometheus, as a file for the textfile collector of its node_exporter.

The format is Prometheus' text format 0.0.4, with names by its conventions: base units in the name,
gauges without `_total`. The collector reads every `*.prom` in its directory.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from backfill.files import write_atomically
from backfill.notify.call_history import Call
from backfill.report.wording import unix_of

PUBLIC_FILE = 0o644
"""The exporter runs as another user; there is nothing in the file but figures."""

_OUTCOMES = ("delivered", "rejected", "merged", "skipped", "pending", "held")
_OF_THE_CALL = ("delivered", "rejected", "merged", "skipped")

_Samples = Iterable[tuple[Mapping[str, str], float]]


def write_metrics(path: Path, job: str, call: Call) -> None:
    """Replace the file by the figures of a call that has ended.

    Raises:
        OSError: The directory is missing or cannot be written to, or the disk is full.
    """
    write_atomically(path, metrics_text(job, call).encode(), mode=PUBLIC_FILE)


def metrics_text(job: str, call: Call) -> str:
    """The figures of a call that has ended, in Prometheus' text format.

    Args:
        job: The job's name, the label of all figures.
        call: The call.
    """
    families = (_family(name, about, samples, job) for name, about, samples in _families(call))
    return "".join(families)


def _families(call: Call) -> Iterator[tuple[str, str, _Samples]]:
    started, finished = unix_of(call.started_at), unix_of(call.finished_at)
    yield "last_run_exit_code", "Exit code of the last call.", [({}, call.exit or 0)]
    yield "last_run_timestamp_seconds", "When the last call ended.", [({}, finished)]
    yield (
        "last_run_duration_seconds",
        "How long the last call took.",
        [({}, round(finished - started, 3))],
    )
    if call.succeeded_at:
        yield (
            "last_success_timestamp_seconds",
            "When a call last succeeded (exit code 0 or 3).",
            [({}, unix_of(call.succeeded_at))],
        )
    if call.summary is not None:
        yield from _counts(call.summary)


def _counts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, _Samples]]:
    rows = [({"outcome": each}, summary[each]) for each in _OUTCOMES]
    if summary["rows_read"]:  # else the call failed before it knew them
        yield "rows", "Rows of the job by outcome; held rows are also pending.", rows
    this = summary["this_run"]
    yield (
        "last_run_rows",
        "Rows that the last call settled, by outcome.",
        [({"outcome": each}, this[each]) for each in _OF_THE_CALL],
    )
    yield "last_run_requests", "Requests of the last call.", [({}, this["requests"])]
    yield "last_run_attempts", "Requests, retries included.", [({}, this["attempts"])]
    yield (
        "last_run_sent_bytes",
        "Bytes of all request bodies, retries included.",
        [({}, this["bytes_sent"])],
    )


def _family(name: str, about: str, samples: _Samples, job: str) -> str:
    lines = [f"# HELP backfill_{name} {about}", f"# TYPE backfill_{name} gauge"]
    for labels, value in samples:
        written = ",".join(
            f'{key}="{_escaped(text)}"' for key, text in {"job": job, **labels}.items()
        )
        lines.append(f"backfill_{name}{{{written}}} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
