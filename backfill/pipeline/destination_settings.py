"""Where rows are sent: `[destination]`; who is told: `[notify]`; where the state is."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from backfill.pipeline.column_settings import PREFERENCES
from backfill.pipeline.rate_windows import RateSchedule, RateWindow, refuse_overlap
from backfill.pipeline.setting_values import Constant, DurationSetting, StrictSettings

Occasion = Literal["failure", "rejections", "recovery", "success"]
"""Why somebody is told: it failed, rows are rejected, it succeeded after it had failed, it
succeeded."""


NAME_BYTES_MAX = 150
"""The longest name of an attribute, in bytes of UTF-8 (Track OpenAPI)."""

_MEANINGFUL = {
    *("id", "email", "phone", "cio_id", "anonymous_id", "created_at", "unsubscribed"),
    *("cio_relationships", "recipient", "from_address", "reply_to"),
}
"""Names that the service acts on, in people or in events (Track docs)."""


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine, whatever a name server says.

    >>> is_loopback_host("127.0.0.1"), is_loopback_host("::1"), is_loopback_host("example.com")
    (True, True, False)
    """
    # The one name that is believed: others are what a name server says.
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


_BUCKET = re.compile(r"(s3|gs|az)://[^/?#@\s]+(?P<folder>/.*)?", re.DOTALL)


def bucket_objection(place: str) -> str:
    """Why nothing of a job can be kept at a URL; empty: it can.

    >>> bucket_objection("s3://acme/jobs"), bucket_objection("https://acme.example/jobs")
    ('', 'is no bucket: s3://, gs:// and az:// begin the name of one')
    """
    if found := _BUCKET.fullmatch(place):
        folder = (found["folder"] or "").strip("/")
        if not folder.isprintable() or set("?#") & set(folder):
            return "has a ?, a # or a control character in its folder"
        if folder and {"", ".", ".."} & set(folder.split("/")):
            return "has an empty or dotted folder, which no object can be asked for in"
        return ""
    return "is no bucket: s3://, gs:// and az:// begin the name of one"


def objection(url: str) -> str:
    """Why nothing is sent to a url, never quoting it, since it may be a secret; empty: it can be.

    >>> objection("http://hooks.example.com/T0/B0")
    'is not https, which only this machine may omit'
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        return "has a space, a control character or a character outside ASCII"
    try:
        split = urlsplit(url)
        # Parsed when it is asked for, and only then refused.
        _ = split.port
    except ValueError:
        return "cannot be read"
    if split.scheme not in ("https", "http") or not split.hostname:
        return "is not of the form https://host"
    if split.scheme == "http" and not is_loopback_host(split.hostname):
        return "is not https, which only this machine may omit"
    if "@" in split.netloc:
        return "carries a user name or password"
    return ""


class Destination(StrictSettings):
    """Where requests go, how fast, and how long an outage may last before a run stops."""

    api: Literal["v1", "v2"] = "v2"
    region: Literal["us", "eu"] | None = None
    url: str | None = None
    credentials: str | None = None
    # 0, no limit, is refused later toward any other machine than this.
    rate: float = Field(default=100, ge=0)
    windows: tuple[RateWindow, ...] = Field(default=(), alias="window")
    concurrency: int | None = Field(default=None, ge=1, le=1024)
    outage_max: DurationSetting = Field(default=900, gt=0)

    @field_validator("windows")
    @classmethod
    def _one_at_a_time(cls, value: tuple[RateWindow, ...]) -> tuple[RateWindow, ...]:
        refuse_overlap(value)
        return value

    @property
    def schedule(self) -> RateSchedule:
        """The rate as a function of time."""
        return RateSchedule(self.rate, self.windows)


class ImportMark(StrictSettings):
    """What marks the people and events of an import, so that campaigns can leave it out."""

    attribute: Mapping[str, Constant] = Field(default_factory=dict)
    property: Mapping[str, Constant] = Field(default_factory=dict)
    segment: int | None = Field(default=None, ge=1)
    # True: before the first request it is noted who is not there yet, which takes the App API.
    undo: bool = False

    @field_validator("attribute", "property")
    @classmethod
    def _is_data(cls, value: Mapping[str, Constant]) -> Mapping[str, Constant]:
        for name in value:
            if name in _MEANINGFUL or name.startswith(("_", PREFERENCES)):
                raise ValueError(f"{name!r} means something to the service: choose another name")
            if not 0 < len(name.encode()) <= NAME_BYTES_MAX:
                raise ValueError(f"a name has 1 to {NAME_BYTES_MAX} bytes")
        return value


class Notify(StrictSettings):
    """A webhook that is told how a call ended. Its URL is as good as a password."""

    # Not in reprs, which end up in logs.
    webhook: str | None = Field(default=None, repr=False)
    webhook_env: str | None = Field(default=None, min_length=1)
    on: tuple[Occasion, ...] = Field(default=("failure", "rejections", "recovery"), min_length=1)

    @model_validator(mode="after")
    def _one_webhook(self) -> Self:
        if (self.webhook is None) == (self.webhook_env is None):
            raise ValueError(
                'give webhook = "https://…", or webhook_env = "NAME" of the variable that holds it'
            )
        if self.webhook is not None and (why := objection(self.webhook)):
            raise ValueError(f"webhook {why}")
        return self
