"""Where rows are sent, and who is told how it went: `[destination]` and `[notify]`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from backfill.pipeline.addresses import objection
from backfill.pipeline.amounts import DurationSetting, StrictSettings

Occasion = Literal["failure", "rejections", "recovery", "success"]
"""Why somebody is told: it failed, rows are rejected, it succeeded after it had failed, it
succeeded."""


class Destination(StrictSettings):
    """Where requests go, how fast, and how long an outage may last before a run stops."""

    api: Literal["v1", "v2"] = "v2"
    region: Literal["us", "eu"] | None = None
    url: str | None = None
    credentials: str | None = None
    # 0, no limit, is refused later toward any other machine than this.
    rate: float = Field(default=100, ge=0)
    concurrency: int | None = Field(default=None, ge=1, le=1024)
    outage_max: DurationSetting = Field(default=900, gt=0)


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
