"""The sandbox as a process whose every request is held to the published description.

python tests/support/watched_sandbox.py FILE [options of `python -m backfill.sandbox`]

What a request has that the description does not allow is added to FILE, a line each. That is the
test's business, not the sandbox's: the service itself looks at much less.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from backfill.sandbox import __main__ as sandbox
from backfill.sandbox import server
from backfill.sandbox.gateway import Gateway
from tests.support.track_schema import violations

NOTES = Path(sys.argv.pop(1)).open("a", buffering=1)  # noqa: SIM115  # open to the end


class WatchedGateway(Gateway):
    """The door of the API, and somebody beside it who takes notes."""

    async def _carry_out(self, scope: Any, receive: Any, send: Any, *rest: Any) -> None:
        _, body, _ = rest
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        NOTES.writelines(f"{each}\n" for each in violations(scope["method"], path, query, body))
        await super()._carry_out(scope, receive, send, *rest)


server.Gateway = WatchedGateway
sandbox.main()
