"""Settings of runs that nobody watches: what is new each night, and who is told how it went."""

from typing import Literal, Self

from pydantic import Field, model_validator

from backfill.pipeline.addresses import objection
from backfill.pipeline.amounts import Allowance, AllowanceSetting, DurationSetting, StrictSettings

Occasion = Literal["failure", "rejections", "recovery", "success"]
"""Why somebody is told: it failed, rows are rejected, it succeeded after it had failed, it
succeeded."""


class Sync(StrictSettings):
    """How a source says what is new; counts in a sync only."""

    mode: Literal["diff", "files", "cursor"] | None = None
    column: str | None = None
    lookback: DurationSetting = Field(default=2 * 86_400, ge=0)
    vanished: Literal["keep", "delete"] = "keep"
    deletes_max: AllowanceSetting = Allowance(share=0.01)
    rows_change_max: AllowanceSetting = Allowance(share=0.5)
    schema_change: Literal["refuse", "accept"] = "refuse"

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        if (self.mode == "cursor") != (self.column is not None):
            raise ValueError('mode = "cursor" and column = "…" need each other')
        if self.vanished == "delete" and self.mode not in ("diff", None):
            raise ValueError('vanished = "delete" needs mode = "diff": no other sees every row')
        return self


class Notify(StrictSettings):
    """A webhook that is told how a call ended. Its URL is as good as a password."""

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
