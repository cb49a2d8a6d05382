"""`backfill sandbox`: a Track API workspace on your own machine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.errors import UsageError

if TYPE_CHECKING:  # DuckDB loads slowly, and no other command needs it
    from backfill.sandbox import Address, SandboxSettings


def sandbox(
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8025,
    data: Annotated[Path | None, typer.Option(help="Keep the data in this folder.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    tls: Annotated[
        bool, typer.Option("--tls", help="Serve https with a local certificate authority.")
    ] = False,
    now: Annotated[str, typer.Option(help="Stop the clock at this time (ISO 8601).")] = "",
    site_id: Annotated[str, typer.Option(help="The site id it accepts.")] = "sandbox",
    api_key: Annotated[str, typer.Option(help="The API key it accepts.")] = "sandbox",
) -> None:
    """Serve a workspace with the Track API on this machine.

    Send to it with `backfill run PIPELINE --url http://127.0.0.1:8025`.
    """
    from backfill.sandbox import SandboxSettings, serve  # see above

    settings = SandboxSettings(
        host=host,
        port=port,
        data=data,
        tls=tls,
        now_s=_unix_seconds(now) if now else None,
        site_id=site_id,
        api_key=api_key,
    )
    serve(settings, lambda address: _announce(address, settings))


def _announce(address: "Address", settings: "SandboxSettings") -> None:
    """Say where the sandbox is on stdout; advice goes to stderr."""
    keys = f"(site id {settings.site_id}, API key {settings.api_key})"
    typer.echo(f"sandbox: {address.url} {keys}")
    if address.ca:
        typer.echo(f"certificate authority: {address.ca}")
    if address.token:
        typer.echo(f"token: {address.token} (page: {address.url}/?token={address.token})")
        typer.echo("The sandbox can be reached from other machines.", err=True)
    typer.echo("Open that address in a browser to see what arrives; Ctrl-C ends it.", err=True)


def _unix_seconds(text: str) -> float:
    """The moment that `text` writes in ISO 8601; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "--now is not an ISO 8601 timestamp", next_step="write it as 2026-01-31T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
