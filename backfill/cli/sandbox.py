"""`backfill sandbox`: a Track API workspace on your own machine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backfill.errors import UsageError


def sandbox(
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8025,
    data: Annotated[Path | None, typer.Option(help="Keep everything in this folder.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    now: Annotated[str, typer.Option(help="Stand still at this moment (ISO 8601).")] = "",
    site_id: Annotated[str, typer.Option(help="Site id that it asks for.")] = "sandbox",
    api_key: Annotated[str, typer.Option(help="API key that it asks for.")] = "sandbox",
) -> None:
    """Serve a local workspace with the Track API, and a page to look at it.

    Send to it with `backfill run PIPELINE --url http://127.0.0.1:8025`.
    """
    from backfill.sandbox import Settings, serve  # noqa: PLC0415  # DuckDB loads slowly

    settings = Settings(
        host=host,
        port=port,
        data=data,
        now_s=_unix_seconds(now) if now else None,
        site_id=site_id,
        api_key=api_key,
    )
    keys = f"(site id {site_id}, API key {api_key})"
    serve(settings, lambda url: print(f"sandbox: {url} {keys}", flush=True))  # noqa: T201


def _unix_seconds(text: str) -> float:
    """The moment that `text` writes in ISO 8601; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "--now is no moment in ISO 8601", next_step="Write it as 2026-01-31T12:00:00Z."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
