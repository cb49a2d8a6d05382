"""Tells a webhook how a call ended: figures and fixed sentences, nothing out of anybody's rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from backfill.errors import MEANINGS, ExitCode
from backfill.notify.call_history import Call
from backfill.pipeline.destination_settings import Notify, Occasion
from backfill.pipeline.file import Pipeline
from backfill.report.wording import counted

SENT = "sent"


_COUNTS = (
    *("rows_read", "delivered", "rejected", "merged", "skipped", "pending", "held"),
    *("deletes", "deletes_refused"),
)


def notify(pipeline: Pipeline, call: Call, before: Call | None, env: Mapping[str, str]) -> str:
    """Tell the pipeline's webhook of a call that has ended, if it is to hear of such.

    Args:
        pipeline: The settings.
        call: The call.
        before: The one that ended before it.
        env: Where the webhook may be named.

    Returns:
        What became of it: sent, or why not; empty: there was nothing to send.
    """
    settings = pipeline.notify
    told = occasions(call, before)
    if settings is None or not set(told) & set(settings.on):
        return ""
    url = _url(settings, env)
    if not url:
        return f"{settings.webhook_env} is not set"
    from backfill.notify import webhook  # noqa: PLC0415  # httpx, for the few calls that tell

    return webhook.post(url, orjson.dumps(message(pipeline.name, call, told))) or SENT


def occasions(call: Call, before: Call | None) -> list[Occasion]:
    """What a call that has ended is worth telling for; the first is the most important.

    A call that neither delivered everything (0) nor everything but rejections (3) failed; so did
    one that was killed.
    """
    if not call.succeeded:
        return ["failure"]
    # Nobody wants to hear of each success, but of the first after a failure.
    recovered: list[Occasion] = ["recovery"] if before and not before.succeeded else []
    return [*recovered, "rejections" if call.exit == ExitCode.REJECTIONS else "success"]


def message(job: str, call: Call, told: Sequence[Occasion]) -> dict[str, Any]:
    """What is posted: `text` for Slack and whoever reads it, the rest for programs.

    Args:
        job: The job's name.
        call: The call.
        told: What it is told for.
    """
    summary = call.summary or {}
    return {
        "text": _text(job, call, told),
        "job": job,
        "command": call.command,
        "occasions": list(told),
        "exit": call.exit,
        "started_at": call.started_at,
        "finished_at": call.finished_at,
        "complete": summary.get("complete", False),
        **{name: summary.get(name, 0) for name in _COUNTS},
        "rejections_by_reason": summary.get("rejections_by_reason", {}),
        "this_run": summary.get("this_run", {}),
    }


def _text(job: str, call: Call, told: Sequence[Occasion]) -> str:
    said = {
        # An error's own sentence may name files and people: it stays in `status --history`.
        "failure": f"failed (exit {call.exit}): {MEANINGS[ExitCode(call.exit or 1)]}",
        "recovery": "works again",
        "rejections": f"is done, and {_refused(call)}",
        "success": "is done",
    }
    what = ", ".join(said[each] for each in told if not (each == "success" and len(told) > 1))
    return f"backfill {call.command} {job} {what}. {_figures(call)}"


def _figures(call: Call) -> str:
    this = (call.summary or {}).get("this_run", {})
    delivered, skipped = this.get("delivered", 0), this.get("skipped", 0)
    rejected = this.get("rejected", 0)
    rows = counted(delivered, "row")
    text = f"This run: {rows} delivered, {skipped:,} skipped, {rejected:,} rejected"
    if deletes := this.get("deletes", 0):
        text += f", {counted(deletes, 'person', 'people')} deleted"
    of_job = f"{_count(call, 'rejected'):,} rejected, {_count(call, 'pending'):,} pending"
    return f"{text}. The job: {of_job}."


def _refused(call: Call) -> str:
    rows = _count(call, "rejected")
    text = f"{counted(rows, 'row')} {'is' if rows == 1 else 'are'} rejected"
    if refused := _count(call, "deletes_refused"):
        return f"{text}, {counted(refused, 'deletion')} refused"
    return text


def _count(call: Call, name: str) -> int:
    return int((call.summary or {}).get(name, 0))


def _url(settings: Notify, env: Mapping[str, str]) -> str:
    return settings.webhook or env.get(settings.webhook_env or "", "")
