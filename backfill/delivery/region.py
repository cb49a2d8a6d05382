"""Which workspace the credentials open: `GET /api/v1/accounts/region` (Track OpenAPI)."""

from dataclasses import dataclass
from hashlib import blake2b

import orjson

from backfill.delivery.destination import is_loopback
from backfill.delivery.verdicts import (
    Abort,
    Answer,
    Halve,
    NoAnswer,
    Retry,
    Settled,
    Unauthorized,
    judge,
)
from backfill.errors import CredentialsError, UsageError

REGION_PATH = "/api/v1/accounts/region"
_REGIONS = ("us", "eu")
_OK = 200
_NO_SUCH_PAGE = frozenset({404, 405})


@dataclass(frozen=True, slots=True)
class Region:
    """The answer's `region` and `environment_id`, each None where it gave none.

    Its `url` is never read: the user's settings alone decide where requests go.
    """

    region: str | None = None
    environment_id: int | None = None

    def workspace(self, site_id: str) -> str:
        """A name for the workspace that says nothing of the key and nothing of the host."""
        if self.environment_id is not None:
            return f"environment-{self.environment_id}"
        return "site-" + blake2b(site_id.encode(), digest_size=8, person=b"workspace").hexdigest()


def judge_region(answer: Answer | NoAnswer) -> Region | Retry | Unauthorized | Abort:
    """Read the answer to a look-up: a region, or what stands in its way."""
    if isinstance(answer, Answer):
        # A stand-in for the API may have no look-up; whether that will do is asked later.
        if answer.status in _NO_SUCH_PAGE:
            return Region()
        if answer.status == _OK:
            return _read(answer.body or b"{}") or Retry("unknown")
    verdict = judge(answer, 1)
    return Retry("unknown") if isinstance(verdict, Settled | Halve) else verdict


def check_region(wanted: str | None, found: Region, url: str) -> None:
    """Refuse to send to a workspace that is elsewhere.

    Raises:
        CredentialsError: The regions differ.
        UsageError: None was named, and it is not this machine, where nobody needs one.
    """
    if found.region is None and not is_loopback(url):
        raise UsageError(
            "the destination does not say which region it serves; nothing was sent",
            next_step="check `url`: it does not seem to be Customer.io's Track API",
        )
    if wanted is not None and found.region not in (None, wanted):
        raise CredentialsError(
            f"the workspace is in {found.region!r}, the pipeline says {wanted!r}; nothing was sent",
            next_step=f'set region = "{found.region}" in [destination]',
        )


def not_accepted() -> CredentialsError:
    """What a look-up without a welcome means."""
    return CredentialsError(
        "the API does not accept the credentials; no row was rejected because of it",
        next_step="check the site id, the API key and `region`, then run the same command again",
    )


def _read(body: bytes) -> Region | None:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(parsed, dict):
        return None
    region, environment_id = parsed.get("region"), parsed.get("environment_id")
    return Region(
        region if region in _REGIONS else None,
        # True is an int to Python, and no workspace.
        environment_id if type(environment_id) is int else None,
    )
