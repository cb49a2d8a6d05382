"""HTTP/1.1 as uvicorn speaks it, with the connection in reach and a limit on slow heads."""

import asyncio

import h11
from starlette.types import Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S = 20.0


class Protocol(H11Protocol):
    """One connection; the application finds it at `scope["state"]["connection"]`."""

    is_cut = False
    """Whether a reset of the workspace has ended it: what came over it is gone."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Show itself to the application."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": self}

    def cut_others(self) -> None:
        """End every other connection, so that no byte on its way there can arrive any more.

        Connections are accepted in the order in which they were made: one that was made before
        this one is among them, even if it was never listened to.
        """
        for other in self.connections:
            if isinstance(other, Protocol) and other is not self:
                other.is_cut = True
                other.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that does not become complete in time ends the connection."""
        super().data_received(data)
        incomplete = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if incomplete and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)
        elif not incomplete:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def until_gone(receive: Receive) -> None:
    """Wait until the connection of a request is gone; what it still says is not listened to."""
    while (await receive())["type"] != "http.disconnect":
        continue
