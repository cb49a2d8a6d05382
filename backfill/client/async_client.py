"""`AsyncTrackClient`: the calls of `TrackClient`, awaited."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from backfill.client.track_client import TrackClient

P = ParamSpec("P")
Result = TypeVar("Result")

CONNECTIONS_MAX = 16


def _awaited(
    method: Callable[Concatenate[TrackClient, P], Result],
) -> Callable[Concatenate["AsyncTrackClient", P], Coroutine[Any, Any, Result]]:
    """The same call as a coroutine: carried out in a thread, with the same errors."""

    @wraps(method)
    async def call(self: "AsyncTrackClient", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await self._carried_out(partial(method, self._client, *args, **kwargs))

    return call


class AsyncTrackClient:
    """The Track API, one call at a time, for programs with an event loop.

    The methods are those of `TrackClient`, with the same arguments and errors; each is carried out
    in one of a few threads, so that an event loop is never held up. A call that is cancelled may
    have been applied all the same.

    Args:
        site_id: The workspace's site id.
        api_key: Its Track API key.
        concurrency: So many calls are under way at the same time; the others wait.
        settings: What else `TrackClient` takes.

    Example:
        >>> async with AsyncTrackClient("site", "key") as client:  # doctest: +SKIP
        ...     await client.identify("42", email="ada@example.com")
    """

    def __init__(
        self, site_id: str, api_key: str, *, concurrency: int = CONNECTIONS_MAX, **settings: Any
    ) -> None:
        self._client = TrackClient(site_id, api_key, **settings)
        self._threads = ThreadPoolExecutor(concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the calls that are under way, then close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def _carried_out(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    identify = _awaited(TrackClient.identify)
    delete = _awaited(TrackClient.delete)
    suppress = _awaited(TrackClient.suppress)
    unsuppress = _awaited(TrackClient.unsuppress)
    track = _awaited(TrackClient.track)
    page = _awaited(TrackClient.page)
    screen = _awaited(TrackClient.screen)
    track_anonymous = _awaited(TrackClient.track_anonymous)
    add_device = _awaited(TrackClient.add_device)
    delete_device = _awaited(TrackClient.delete_device)
    merge = _awaited(TrackClient.merge)
    add_to_segment = _awaited(TrackClient.add_to_segment)
    remove_from_segment = _awaited(TrackClient.remove_from_segment)
    submit_form = _awaited(TrackClient.submit_form)
    report_metric = _awaited(TrackClient.report_metric)
    report_push = _awaited(TrackClient.report_push)
    unsubscribe = _awaited(TrackClient.unsubscribe)
    entity = _awaited(TrackClient.entity)
    batch = _awaited(TrackClient.batch)
    region = _awaited(TrackClient.region)
