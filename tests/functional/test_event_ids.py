"""The same rows have the same ids, wherever they stand: sent again, they are repeats."""

import csv
import gzip
import io
import json
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.jobs import EVENTS, job

TYPED = EVENTS + '[source.columns]\nn = "integer"\namount = "number"\nvip = "boolean"\n'
ROWS = [
    {
        "id": f"p{n % 7}",
        "event": ("bought", "seen")[n % 2],
        "at": f"2024-01-{1 + n % 28:02}T10:00:{n % 60:02}+00:00",
        "n": n,
        "amount": n / 8,
        "vip": n % 3 == 0,
        "note": ("", 'a "quoted" one', "Zoë ☕", "two\nlines", "007")[n % 5],
    }
    for n in range(60)
]


def _csv(rows, delimiter=","):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ROWS[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows({**row, "vip": str(row["vip"]).lower()} for row in rows)
    return text.getvalue().encode()


def _lines(rows):
    kept = ({key: value for key, value in row.items() if value != ""} for row in rows)
    return "\n".join(json.dumps(row) for row in kept).encode()


def _parquet(rows):
    file = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist([{**row, "note": row["note"] or None} for row in rows]), file
    )
    return file.getvalue()


def _shuffled():
    return Random(5).sample(ROWS, len(ROWS))


WAYS = {
    "another name": {"events-of-2024.csv": _csv(ROWS)},
    "another order": {"events.csv": _csv(_shuffled())},
    "three files": {f"events-{n}.csv": _csv(ROWS[n * 20 : n * 20 + 20]) for n in range(3)},
    "compressed": {"events.csv.gz": gzip.compress(_csv(ROWS))},
    "tabs": {"events.tsv": _csv(ROWS, "\t")},
    "JSON Lines": {"events.jsonl": _lines(ROWS)},
    "Parquet": {"events.parquet": _parquet(ROWS)},
    "other columns' order": {
        "events.parquet": _parquet([dict(reversed(row.items())) for row in ROWS])
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_rows_in_another_way(tmp_path, send, sandbox, way):
    """Each arrives under the id that it had, with the very same body."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert send(job(first, {"events.csv": _csv(ROWS)}, TYPED)).code == 0

    assert send(job(second, WAYS[way], TYPED, name="other")).code == 0

    assert sandbox.stats()["events"] == 60
    assert sandbox.stats()["duplicate_events"] == 60
    bodies = {(each["event_id"], each["body_hash"]) for each in sandbox.arrivals()}
    assert len(bodies) == 60


def test_v1_and_v2_give_one_event_one_id(tmp_path, send, sandbox):
    """What one API has brought is a repeat for the other."""
    pipeline = job(tmp_path, {"events.csv": _csv(ROWS)}, TYPED)
    send(pipeline)
    with pipeline.open("a") as file:
        file.write('[destination]\napi = "v1"\n')

    assert send(pipeline, "--restart").code == 0
    assert sandbox.stats()["duplicate_events"] == 60


def test_identical_rows_are_numbered_whatever_the_order(tmp_path, send, sandbox):
    """Three of a kind are three events; in another order they are the same three."""
    keep = TYPED.replace("[source.columns]", 'identical_rows = "keep"\n[source.columns]')
    rows = [*ROWS, ROWS[3], ROWS[3], ROWS[9]]
    send(job(tmp_path, {"events.csv": _csv(rows)}, keep))
    assert sandbox.stats()["events"] == 63

    send(job(tmp_path, {"events.csv": _csv(rows[::-1])}, keep), "--restart")

    assert sandbox.stats()["events"] == 63
    assert sandbox.stats()["duplicate_events"] == 63


def test_a_key_makes_an_event_itself(tmp_path, send, sandbox):
    """Its other fields may change: the event that is there already stays as it is."""
    keyed = TYPED.replace("[source.columns]", 'key = ["n"]\n[source.columns]')
    send(job(tmp_path, {"events.csv": _csv(ROWS)}, keyed))
    changed = [{**row, "amount": 1} for row in ROWS]

    send(job(tmp_path, {"events.csv": _csv(changed)}, keyed), "--restart")

    assert sandbox.stats()["events"] == 60
    assert sandbox.stats()["duplicate_events"] == 60


def test_a_namespace_makes_other_events_of_the_same_rows(tmp_path, send, sandbox):
    """The job's name does not."""
    send(job(tmp_path, {"events.csv": _csv(ROWS)}, TYPED, name="one"))
    send(job(tmp_path, {}, TYPED, name="two"))
    assert sandbox.stats()["events"] == 60

    send(job(tmp_path, {}, TYPED, name="three", top='namespace = "again"'))

    assert sandbox.stats()["events"] == 120
