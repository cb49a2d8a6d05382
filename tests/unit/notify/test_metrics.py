"""Prometheus' figures, read by a strict parser of its text format 0.0.4."""

import re
import stat
from dataclasses import replace

import pytest

from backfill.notify.call_history import Call
from backfill.notify.metrics import metrics_text, write_metrics

SUMMARY = {
    "rows_read": 10,
    "delivered": 4,
    "rejected": 3,
    "merged": 2,
    "skipped": 0,
    "pending": 1,
    "held": 1,
    "this_run": {
        "delivered": 4,
        "rejected": -1,
        "merged": 2,
        "skipped": 0,
        "requests": 5,
        "attempts": 6,
        "bytes_sent": 700,
    },
}
CALL = Call(
    command="sync",
    pid=1,
    started_at="2026-11-22T01:00:00.000Z",
    finished_at="2026-11-22T01:00:02.500Z",
    exit=3,
    succeeded_at="2026-11-22T01:00:02.500Z",
    summary=SUMMARY,
)
_HELP = re.compile(r"# HELP ([a-z_]+) (.+)")
_TYPE = re.compile(r"# TYPE ([a-z_]+) (counter|gauge|untyped)")
_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"([a-z_]+)\{{({_LABEL}(?:,{_LABEL})*)\}} (-?\d+(?:\.\d+)?)")


def parsed(text: str) -> dict[tuple[str, str], float]:
    """The samples by name and labels; each family has its HELP, its TYPE and its samples once."""
    assert text.endswith("\n")
    samples, seen, family = {}, set(), ""
    for line in text.splitlines():
        if helped := _HELP.fullmatch(line):
            family = helped[1]
            assert family not in seen
            seen.add(family)
        elif typed := _TYPE.fullmatch(line):
            assert typed[1] == family
        else:
            name, labels, value = _SAMPLE.fullmatch(line).groups()
            assert name == family
            assert (name, labels) not in samples
            samples[name, labels] = float(value)
    return samples


def test_every_figure_is_there_by_job():
    """Rows by outcome, seconds, when, and how it ended."""
    found = parsed(metrics_text("acme", CALL))
    job = 'job="acme"'
    assert found["backfill_rows", f'{job},outcome="delivered"'] == 4
    assert found["backfill_rows", f'{job},outcome="pending"'] == 1
    assert found["backfill_last_run_rows", f'{job},outcome="rejected"'] == -1
    assert found["backfill_last_run_exit_code", job] == 3
    assert found["backfill_last_run_duration_seconds", job] == 2.5
    assert found["backfill_last_run_timestamp_seconds", job] == 1795309202.5
    assert found["backfill_last_success_timestamp_seconds", job] == 1795309202.5
    assert found["backfill_last_run_sent_bytes", job] == 700


def test_what_is_not_known_is_left_out():
    """A job that never succeeded has no last success, and one that never began has no rows."""
    early = replace(CALL, exit=4, succeeded_at="", summary={**SUMMARY, "rows_read": 0})
    names = {name for name, _ in parsed(metrics_text("acme", early))}
    assert "backfill_last_success_timestamp_seconds" not in names
    assert "backfill_rows" not in names
    names = {name for name, _ in parsed(metrics_text("acme", replace(early, summary=None)))}
    assert len(names) == 3


@pytest.mark.parametrize("job", ['a"b', "a\\b", "a\nb"])
def test_labels_are_escaped(job):
    """As the format asks, though no job may be called so."""
    assert parsed(metrics_text(job, CALL))


def test_an_exporter_that_runs_as_another_user_can_read_it(tmp_path):
    """Whatever the umask, and what was there before; nothing half written is left beside it."""
    path = tmp_path / "backfill.prom"
    path.write_text("former")
    path.chmod(0o600)
    write_metrics(path, "acme", CALL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_text() == metrics_text("acme", CALL)
    assert list(tmp_path.iterdir()) == [path]
