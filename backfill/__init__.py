"""Move a company's history into Customer.io, every row accounted for.

    from backfill import Pipeline, plan, run

    pipeline = Pipeline.load("acme.toml")
    print(plan(pipeline).guards)
    print(run(pipeline).text())

The names are found when they are first used: `import backfill` loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backfill.errors import (
    BackfillError,
    CredentialsError,
    DiffersError,
    ExitCode,
    GuardError,
    InterruptedRunError,
    SourceChangedError,
    StateError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from backfill.client.async_client import AsyncTrackClient
    from backfill.client.track_client import TrackClient, TrackError
    from backfill.commands.check import Planned, plan
    from backfill.commands.run import run
    from backfill.commands.verify import verify
    from backfill.engine.options import Observer, Options, Stop
    from backfill.pipeline.file import Pipeline
    from backfill.report.summary import Summary

__all__ = [
    "AsyncTrackClient",
    "BackfillError",
    "CredentialsError",
    "DiffersError",
    "ExitCode",
    "GuardError",
    "InterruptedRunError",
    "Observer",
    "Options",
    "Pipeline",
    "Planned",
    "SourceChangedError",
    "StateError",
    "Stop",
    "Summary",
    "TrackClient",
    "TrackError",
    "UnavailableError",
    "UsageError",
    "__version__",
    "plan",
    "run",
    "verify",
]

_HOMES = {
    "AsyncTrackClient": "backfill.client.async_client",
    "Observer": "backfill.engine.options",
    "Options": "backfill.engine.options",
    "Pipeline": "backfill.pipeline.file",
    "Planned": "backfill.commands.check",
    "Stop": "backfill.engine.options",
    "Summary": "backfill.report.summary",
    "TrackClient": "backfill.client.track_client",
    "TrackError": "backfill.client.track_client",
    "plan": "backfill.commands.check",
    "run": "backfill.commands.run",
    "verify": "backfill.commands.verify",
}
__version__: str


def __getattr__(name: str) -> Any:
    """Find a public name where it lives (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  # slower than all else in here

        found: Any = version("backfill")
    elif name in _HOMES:
        found = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
