"""A Track API workspace on your own machine.

It judges what the sender does, so it shares no code with it: it reads the API's published
description and the facts known about the service on its own.

    with running() as sandbox:
        httpx.get(f"{sandbox.url}/sandbox/stats")
"""

from backfill.sandbox.behaviour import Behaviour, SandboxSettings, changed
from backfill.sandbox.server import Address, Running, running, serve

__all__ = ["Address", "Behaviour", "Running", "SandboxSettings", "changed", "running", "serve"]
