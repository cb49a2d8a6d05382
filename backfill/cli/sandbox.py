"""`backfill sandbox`: a Track API workspace on your own machine."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backfill.cli.flags import Debug
from backfill.errors import UsageError

if TYPE_CHECKING:  # DuckDB loads slowly, and no other command needs it
    from backfill.sandbox import Address, SandboxSettings


def sandbox(  # noqa: PLR0913, PLR0917  # each is an option
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8025,
    data: Annotated[Path | None, typer.Option(help="Keep the data in this folder.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    tls: Annotated[
        bool, typer.Option("--tls", help="Serve https with a local certificate authority.")
    ] = False,
    now: Annotated[str, typer.Option(help="Stop the clock at this time (ISO 8601).")] = "",
    site_id: Annotated[str, typer.Option(help="The site id it accepts.")] = "sandbox",
    api_key: Annotated[str, typer.Option(help="The API key it accepts.")] = "sandbox",
    region: Annotated[
        Literal["us", "eu"], typer.Option(help="What the region lookup answers.")
    ] = "us",
    behaviour: Annotated[
        list[str] | None,
        typer.Option(metavar="SWITCH=VALUE", help="Set a switch of /sandbox/behaviour; repeat."),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="Start with this script of faults (JSON; /sandbox/help).")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Accept this Host too, e.g. track.customer.io; repeat."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Serve a workspace with the Track API on this machine.

    Send to it with `backfill run PIPELINE --url http://127.0.0.1:8025`.
    """
    from backfill.sandbox import Behaviour, SandboxSettings, changed, serve  # see above

    del debug  # who leaves with an error looks for it
    settings = SandboxSettings(
        host=host,
        port=port,
        data=data,
        tls=tls,
        now_s=_unix_seconds(now) if now else None,
        site_id=site_id,
        api_key=api_key,
        region=region,
        behaviour=changed(Behaviour(), _switches(behaviour or ())),
        faults=_script(faults) if faults else None,
        names=tuple(name or ()),
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


def _switches(texts: Iterable[str]) -> dict[str, Any]:
    """Switches by name; a value is JSON, or a text."""
    switches = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(
                f"--behaviour {name} has no value",
                next_step="write it as --behaviour dedupe_window_s=3600",
            )
        try:
            switches[name] = json.loads(value)
        except ValueError:
            switches[name] = value
    return switches


def _script(path: Path) -> Any:
    """The script of faults in a file."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror})", next_step="name a JSON file with --faults"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{path} is no JSON", next_step="write it as POST /sandbox/faults takes it"
        ) from error


def _unix_seconds(text: str) -> float:
    """The moment that `text` writes in ISO 8601; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "--now is not an ISO 8601 timestamp", next_step="write it as 2026-01-31T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
