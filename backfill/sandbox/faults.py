"""Scripted misbehaviour, repeatable by seed; it never loses the account of what was applied.

    {"seed": 1, "faults": [
        {"kind": "status", "status": 429, "retry_after": "1", "rate": 0.1},
        {"kind": "lost_answer", "requests": [3, 7]},
        {"kind": "unauthorized", "from_request": 100}]}

When: `rate` (0 to 1, drawn from the seed), `requests` (numbers from 1, counted since the script
was posted, the region lookup included), `from_request` and `to_request`; without any, always.
`path` and `method` narrow it down, `times` ends it. Of several that hit, the first in the script
decides the answer; `latency` and `refuse_items` come on top.

What, and its own settings; those marked * apply the request first, unless `applied` says otherwise:

    status          `status`, `body` (json, html or empty), `retry_after` (any text) or
                    `retry_after_date_s` (a date so many seconds ahead)
    unauthorized    401, as configured
    redirect        `status` (307 unless given), `location`
    reset_before    the connection is reset, nothing is applied
    reset_after*    applied, and the connection reset
    lost_answer*    applied, and the connection closed without a word
    malformed_json* applied, and 200 with half a JSON text
    wrong_type*     applied, and 200 with an HTML page
    truncated_body* applied, and the connection closed in the middle of the body
    slow_headers*   applied, and the head of the answer drips over `seconds`
    slow_body*      applied, and the body drips over `seconds`
    hang            nothing is applied, and no answer for `seconds`, then it is closed
    drop_above      above `per_second` requests: 200, and nothing is applied
    latency         `seconds` before anything else
    refuse_items    207: the items of a batch in `items`, or a share of them, `item_rate`
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backfill.errors import UsageError

Kind = Literal[
    "status",
    "unauthorized",
    "redirect",
    "reset_before",
    "reset_after",
    "lost_answer",
    "malformed_json",
    "wrong_type",
    "truncated_body",
    "slow_headers",
    "slow_body",
    "hang",
    "drop_above",
    "latency",
    "refuse_items",
]
APPLIED_FIRST = frozenset(
    {
        "reset_after",
        "lost_answer",
        "malformed_json",
        "wrong_type",
        "truncated_body",
        "slow_headers",
        "slow_body",
    }
)
ON_TOP = frozenset({"latency", "refuse_items"})


class Fault(BaseModel):
    """One line of a script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    rate: float | None = Field(default=None, ge=0, le=1)
    requests: tuple[int, ...] | None = None
    from_request: int = 1
    to_request: int | None = None
    path: str = ""
    method: str = ""
    times: int | None = Field(default=None, ge=0)
    applied: bool | None = None
    status: int | None = Field(default=None, ge=200, le=599)
    body: Literal["json", "html", "empty"] = "json"
    retry_after: str | None = Field(default=None, pattern=r"^[\x20-\x7e]*$")
    retry_after_date_s: float | None = None
    location: str = Field(default="https://track-eu.customer.io", pattern=r"^[\x21-\x7e]+$")
    seconds: float = Field(default=1.0, ge=0)
    per_second: int = Field(default=100, ge=0)
    items: tuple[int, ...] | None = None
    item_rate: float = Field(default=0.1, ge=0, le=1)

    @property
    def applies(self) -> bool:
        """Whether the request is carried out all the same."""
        return self.kind in APPLIED_FIRST if self.applied is None else self.applied


class Script(BaseModel):
    """What `POST /sandbox/faults` takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    faults: tuple[Fault, ...] = ()


def script_of(value: Any) -> Script:
    """The script that some JSON says.

    Raises:
        UsageError: It says none; every mistake is named.
    """
    try:
        return Script.model_validate(value)
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UsageError(
            "no script of faults: " + "; ".join(mistakes),
            next_step="see the top of the page, or the documentation of backfill.sandbox.faults",
        ) from error


class Chosen:
    """What happens to one request.

    Args:
        answer: The fault that decides the answer.
        latency_s: How long to wait first, in seconds.
        is_refused: Whether the item of this index is refused; asked in ascending order.
    """

    __slots__ = ("answer", "is_refused", "latency_s")

    def __init__(self) -> None:
        self.answer: Fault | None = None
        self.latency_s = 0.0
        self.is_refused: Callable[[int], bool] | None = None


class Faults:
    """The script that is in force, and how often each of its faults has fired.

    Args:
        ticks: Gives the passing of time, in seconds from anywhere.
    """

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self.install(Script())

    def install(self, script: Script) -> None:
        """Put a script in force; requests count from 1 again."""
        self._script = script
        self._fired = [0] * len(script.faults)
        self._requests = 0
        self._recent: deque[float] = deque()

    def report(self) -> dict[str, Any]:
        """The script, each fault with how often it fired."""
        faults = [
            {**fault.model_dump(exclude_unset=True), "fired": fired}
            for fault, fired in zip(self._script.faults, self._fired, strict=True)
        ]
        return {"seed": self._script.seed, "requests": self._requests, "faults": faults}

    def choose(self, method: str, path: str) -> Chosen:
        """What happens to the next request."""
        self._requests += 1
        chosen = Chosen()
        for index, fault in enumerate(self._script.faults):
            if fault.kind not in ON_TOP and chosen.answer is not None:
                continue
            if self._hits(index, fault, method, path):
                self._fired[index] += 1
                self._put(chosen, index, fault)
        return chosen

    def _put(self, chosen: Chosen, index: int, fault: Fault) -> None:
        if fault.kind == "latency":
            chosen.latency_s += fault.seconds
        elif fault.kind == "refuse_items":
            chosen.is_refused = self._refusal(index, fault)
        else:
            chosen.answer = fault

    def _hits(self, index: int, fault: Fault, method: str, path: str) -> bool:
        if not path.startswith(fault.path) or fault.method not in ("", method):
            return False
        if fault.times is not None and self._fired[index] >= fault.times:
            return False
        if fault.kind == "drop_above" and not self._above(fault.per_second):
            return False
        if fault.requests is not None:
            return self._requests in fault.requests
        if self._requests < fault.from_request:
            return False
        if fault.to_request is not None and self._requests > fault.to_request:
            return False
        return fault.rate is None or self._draws(index).random() < fault.rate

    def _draws(self, index: int) -> random.Random:
        """The chances of this fault at this request, whatever came before."""
        return random.Random(f"{self._script.seed} {index} {self._requests}")  # noqa: S311

    def _refusal(self, index: int, fault: Fault) -> Callable[[int], bool]:
        if fault.items is not None:
            return frozenset(fault.items).__contains__
        draws = self._draws(index)
        return lambda _: draws.random() < fault.item_rate

    def _above(self, per_second: int) -> bool:
        """Whether more than so many requests came within the last second."""
        now = self._ticks()
        self._recent.append(now)
        while self._recent[0] <= now - 1:
            self._recent.popleft()
        return len(self._recent) > per_second
