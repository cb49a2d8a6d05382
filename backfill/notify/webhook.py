"""A small POST to a webhook, which fails quietly: it tells of the work, and is no part of it."""

import asyncio

import httpx

from backfill.pipeline.destination_settings import objection

PATIENCE_S = 5.0
"""How long one attempt may take, from the look-up of the name to the head of the answer."""

PAUSE_S = 1.0
_PASSING, _SERVER_ERROR = (408, 429), 500


def post(url: str, body: bytes, *, patience_s: float = PATIENCE_S, pause_s: float = PAUSE_S) -> str:
    """Send JSON to a webhook.

    Args:
        url: Where to: https, or this machine. It is as good as a password, and never told.
        body: The JSON.
        patience_s: How long each of two attempts may take.
        pause_s: How long to wait between them.

    Returns:
        Why it did not arrive; empty: it did (2xx).
    """
    if why := objection(url):
        return f"the webhook's url {why}"
    return asyncio.run(_post(url, body, patience_s, pause_s))


async def _post(url: str, body: bytes, patience_s: float, pause_s: float) -> str:
    why, may_pass = await _attempt(url, body, patience_s)
    if may_pass:
        await asyncio.sleep(pause_s)
        why, _ = await _attempt(url, body, patience_s)
    return why


async def _attempt(url: str, body: bytes, patience_s: float) -> tuple[str, bool]:
    """Why it did not arrive, and whether another attempt may end otherwise."""
    verify = httpx.create_ssl_context() if url.startswith("https:") else False
    client = httpx.AsyncClient(verify=verify, trust_env=False, timeout=patience_s)
    headers = {"Content-Type": "application/json"}
    try:
        # Only the head of the answer is read: its body has no end that we could trust.
        async with (
            asyncio.timeout(patience_s),
            client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except (TimeoutError, httpx.TimeoutException):
        return f"the webhook did not answer within {patience_s:g} s", True
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"the webhook could not be reached ({type(error).__name__})", True
    if answer.is_success:
        return "", False
    return f"the webhook answered {status}", status in _PASSING or status >= _SERVER_ERROR
