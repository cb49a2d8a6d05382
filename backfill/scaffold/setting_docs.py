"""What each setting of the pipeline file does: for files that `init` writes, and for editors.

Editors read it from the JSON Schema, which is made from the settings themselves:
`python -c "from backfill.scaffold.setting_docs import write_schema as w; w()"` writes it anew.
"""

import json
from pathlib import Path
from typing import Any

from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import KINDS

ABOUT: dict[str, str] = {
    "name": "the job's state is kept under this name",
    "namespace": "part of every event id; another one makes every event new",
    "rejected_max": "more refusals by the API than this (and than 1000) stop the run",
    "destination": "where to, and how fast",
    "source": "what is read: one table per kind of file",
    "api": "v2: batches · v1: a request per row",
    "region": "us | eu",
    "url": "another address than the region's: https, or this machine (a sandbox)",
    "credentials": "a TOML file with site_id and api_key, mode 0600; else the environment has them",
    "rate": "requests per second at most; the API's own limit is 1000",
    "window": "other rates at times of the day: from, to, timezone, rate",
    "RateWindow.from": 'the time at which it begins, such as "08:00"',
    "RateWindow.to": "the time at which it ends; before `from`: on the next day",
    "RateWindow.timezone": "the IANA zone of these times",
    "RateWindow.rate": "requests per second within it; 0: nothing is sent",
    "concurrency": "requests at the same time; left out: it follows from rate and latency",
    "outage_max": "how long the service may be unavailable before a run stops: 15m, 2h",
    "kind": " | ".join(KINDS),
    "EventsSource.type": "event | page | screen",
    "EventsSource.name": "what the events are called: a constant, or { from = COLUMN }",
    "Column.type": "string | integer | number | boolean | timestamp | date | json",
    "files": 'beside this file; globs; s3:// gs:// az:// https://; "-": what is piped in',
    "state": 'where the job keeps its state, if not on a disk: "s3://BUCKET/FOLDER"',
    "storage": "where object stores are; the environment says who may read them",
    "endpoint": "the address of a store that is not the cloud's own: https://HOST",
    "StorageSettings.region": "the region of the bucket, such as eu-central-1",
    "anonymous": "true: the objects are public, and requests are not signed",
    "query": "rows of a database in place of files, extracted once before the plan",
    "sql": "the query; with ORDER BY, so that the same rows come in the same order each time",
    "dsn_env": "the environment variable that holds the address of the database, a secret",
    "format": "csv | tsv | parquet | jsonl | json; left out: the name tells it",
    "delimiter": "the column separator; left out: a comma, in a .tsv a tab",
    "encoding": "utf-8, cp1252, cp932, utf-16 … any of Python's that round-trips",
    "quote": "what may enclose a cell; empty: nothing is quoted",
    "escape": "what makes the next character an ordinary one, such as a backslash; empty: none",
    "skip_lines": "lines before the header, or before the first row",
    "header": "the names of the columns, where the file has none",
    "trim": "drop the spaces around cells and names",
    "decimal": "the decimal mark of written numbers",
    "thousands": "what groups the digits of written numbers",
    "missing_columns": "files that lack a declared column: refuse | null",
    "where": 'only rows whose column holds one of these: { type = ["track", "page"] }',
    "too_long": "an attribute's value over its limit: reject | truncate | drop",
    "last_line": "a last line without a line end: send | wait; a sync of files waits by itself",
    "null_values": "texts that mean null",
    "identifier": "who a row is about: exactly one of id, email, cio_id, and its column",
    "id": "the column with your own ids",
    "email": "the column with e-mail addresses",
    "cio_id": "the column with the ids that Customer.io gave",
    "object_type": "the number of the object type in Customer.io, such as 1",
    "object_id": "the column with the ids of objects",
    "object": "the object that a person belongs to: its type, and the column with its id",
    "RelatedObject.type": "the number of the object type in Customer.io, such as 1",
    "RelatedObject.id": "the column with the ids of objects",
    "primary": "the column with the person who stays, and takes the other one in",
    "secondary": "the column with the person who is merged away and deleted",
    "transform": "FILE.py:FUNCTION, a DataFrame in, a DataFrame out, before rows are judged",
    "required": "rows without a value here are rejected",
    "other_columns": "what is not declared below: keep | drop | error",
    "drop": "columns that are not sent",
    "columns": "declared attributes: a type, or from, type, format and timezone",
    "from": "the column, a member such as a.b, or several columns; left out: the same name",
    "reserved": "names that the service acts on: refuse | drop | send",
    "nulls": "omit | clear: send null, which removes the attribute",
    "create": "false: only update people who exist",
    "shared_emails": "one e-mail under several ids rewrites people: refuse | first | send",
    "consent": "columns that look like consent, and are sent as attributes: refuse | ignore",
    "invert": "true: what means yes is sent as false, as where opt-in becomes unsubscribed",
    "true_values": 'words that mean true besides yes, 1 …; "*": all others',
    "false_values": 'words that mean false besides no, 0 …; "*": all others',
    "value": "what every row says: a constant in place of a column",
    "timestamp": "when it happened",
    "Column.format": "strptime, iso8601, rfc2822, epoch_s|ms|us|ns, excel; left out: it is proved",
    "EventTimestamp.format": "strptime, iso8601, epoch_s … as of columns; left out: it is proved",
    "timezone": "the IANA time zone of timestamps without one, or { from = COLUMN }",
    "zones": 'what abbreviations of zones mean: { PST = "-08:00" }, or an IANA name',
    "pivot": "two-digit years from here on are 19xx, below 20xx; left out: they prove no format",
    "ambiguous": "times that the clock showed twice: reject | earlier | later",
    "nonexistent": "times that the clock skipped: reject | forward | backward",
    "key": "the columns that identify an event; default: all of its content",
    "identical_rows": "rows alike in every field: refuse | keep | collapse",
    "repeated_keys": "the same key, other content: refuse | first",
    "recent_events": "younger than 72 h, can trigger campaigns: refuse | send | skip | hold",
    "unknown_people": "whom no customers source names: refuse | reject | send",
    "earliest": "older events are rejected",
    "latest": "later events are rejected",
    "RelationshipsSource.action": "add | remove",
    "action": "delete | suppress: for ever",
    "deletes_max": 'more people than this, such as 100 or "1%", are refused',
    "merges_max": 'more people than this, such as 100 or "1%", are refused: merges are for ever',
    "sync": "how `backfill sync` finds what is new",
    "mode": "diff: rows that changed · files: new files · cursor: rows beyond the last timestamp",
    "column": "the timestamp column that a cursor reads",
    "lookback": "how far before the last timestamp a cursor starts: 2d, 6h",
    "vanished": "people or relationships that are no longer in the files: keep | delete",
    "rows_change_max": "a sync stops where more of the rows have changed",
    "schema_change": "columns that came or went: refuse | accept",
    "files_change": "a file that was sent and was rewritten since: refuse | send",
    "import": "what marks this import, so that campaigns can leave it out",
    "attribute": 'attributes of every person, such as { import = "2026-11" }',
    "property": 'data of every event, such as { import = "2026-11" }; part of no id',
    "segment": "a manual segment that is filled before the first event, by its number",
    "undo": "true: look up before the first request who is not there yet, for report --undo",
    "notify": "whom to notify when a run, retry or sync has ended",
    "webhook": "JSON is posted here, with a text for Slack; https, or this machine",
    "webhook_env": "the environment variable that holds the webhook, instead",
    "on": "when: failure, rejections, recovery (the first success after a failure), success",
    "keep_runs": "how many runs are kept on record",
}
"""By key; where a key does something else in some table, that table stands before it."""

SCHEMA_FILE = Path(__file__).with_name("pipeline.schema.json")
_DIALECT = "http://json-schema.org/draft-07/schema#"  # what editors of TOML understand


def schema_uri() -> str:
    """Where an editor finds the schema, for the `#:schema` line of a pipeline file."""
    return SCHEMA_FILE.resolve().as_uri()


def pipeline_schema() -> dict[str, Any]:
    """The JSON Schema of the pipeline file, each key with what it does."""
    made = Pipeline.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    del made["properties"]["path"]  # no key of the file: where it lies
    made["required"].remove("path")
    made["definitions"] = made.pop("$defs")
    for name, table in (("Pipeline", made), *made["definitions"].items()):
        for key, setting in table.get("properties", {}).items():
            setting.pop("title", None)
            about = ABOUT.get(f"{name}.{key}") or ABOUT.get(key)
            if about:
                setting["description"] = about
    return {"$schema": _DIALECT, **made, "title": "A backfill pipeline"}


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(pipeline_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_schema() -> None:
    """Write the schema's file, after the settings have changed."""
    SCHEMA_FILE.write_text(schema_text(), "utf-8")
