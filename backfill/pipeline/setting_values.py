"""Values of settings that the pipeline file writes in short: `"1%"`, `"now+1d"`, `"15m"`."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_RELATIVE = re.compile(r"now(?:([+-])(\d+)([dhms]))?")
_DURATION = re.compile(r"(\d+)\s*([dhms])")
_UNIT_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


class StrictSettings(BaseModel):
    """A table of the pipeline file: no unknown keys, never changed once read."""

    # Deferred: only the whole file is validated, and each table alone would cost half as much more.
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


class Allowance(StrictSettings):
    """So many, or such a share: `100` or `"1%"`."""

    count: int | None = None
    share: float | None = None

    def reached_by(self, number: int, total: int) -> bool:
        """Whether `number` of `total` is more than allowed."""
        if self.count is not None:
            return number > self.count
        return number > total * (self.share or 0.0)


def _allowance(value: object) -> object:
    if isinstance(value, Mapping | Allowance):  # as it was dumped or read
        return value
    # TOML's true is an int to Python.
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return {"count": value}
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        return {"share": float(match[1]) / 100}
    raise ValueError('give a number such as 100, or a share such as "1%"')


AllowanceSetting = Annotated[
    Allowance, BeforeValidator(_allowance, json_schema_input_type=int | str)
]


class RelativeTime(StrictSettings):
    """A fixed instant, or one that is told from the run's start: `"1990-01-01"`, `"now+1d"`."""

    unix_s: int | None = None
    after_now_s: int = 0

    def at(self, now_s: float) -> int:
        """The instant as unix seconds, for a run that starts at `now_s`."""
        return self.unix_s if self.unix_s is not None else int(now_s) + self.after_now_s


def _moment(value: object) -> object:
    if isinstance(value, str) and (match := _RELATIVE.fullmatch(value.strip())):
        sign, amount, unit = match.groups()
        after_s = int(amount or 0) * _UNIT_S.get(unit, 0)
        return {"after_now_s": -after_s if sign == "-" else after_s}
    try:
        moment = datetime.fromisoformat(str(value)) if isinstance(value, str | date) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError('give a date such as "1990-01-01", or "now", "now+1d", "now-2h"')
    return {"unix_s": int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())}


TimeSetting = Annotated[RelativeTime, BeforeValidator(_moment, json_schema_input_type=str | date)]


def _seconds(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return int(match[1]) * _UNIT_S[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError('give a duration such as "15m", "90s" or "2h"')


DurationSetting = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=float | str)]
"""A length of time, in seconds."""


EXACT_MAX = 2**53
"""Beyond it readers of JSON round."""

CONSTANT_BYTES_MAX = 1000
"""In UTF-8, as of every attribute (Track OpenAPI)."""


def _of_a_value(text: str) -> str:
    if len(text.encode()) > CONSTANT_BYTES_MAX:
        raise ValueError(f"a value may have {CONSTANT_BYTES_MAX} bytes")
    return text


Constant = (
    StrictBool
    | Annotated[StrictInt, Field(ge=-EXACT_MAX, le=EXACT_MAX)]
    | Annotated[StrictFloat, Field(allow_inf_nan=False)]
    | Annotated[StrictStr, AfterValidator(_of_a_value)]
)
"""What every row says."""
