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
    ExitCode,
    GuardError,
    InterruptedRunError,
    SourceChangedError,
    StateError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from backfill.check import Planned, plan
    from backfill.client import TrackClient, TrackError
    from backfill.conduct import Observer, Options, Stop
    from backfill.pipeline import Pipeline
    from backfill.report.summary import Summary
    from backfill.runs import run

__all__ = [
    "BackfillError",
    "CredentialsError",
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
]

_HOMES = {
    "Observer": "backfill.conduct",
    "Options": "backfill.conduct",
    "Pipeline": "backfill.pipeline",
    "Planned": "backfill.check",
    "Stop": "backfill.conduct",
    "Summary": "backfill.report.summary",
    "TrackClient": "backfill.client",
    "TrackError": "backfill.client",
    "plan": "backfill.check",
    "run": "backfill.runs",
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
