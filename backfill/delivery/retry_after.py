"""The `Retry-After` header (RFC 9110 §10.2.3), in both forms, read with distrust."""

from datetime import datetime
from email.utils import parsedate_to_datetime

HINT_MAX_S = 300.0


def retry_after_s(value: str, date: str) -> float | None:
    """Seconds to wait, between 0 and 300; None where the header says nothing usable.

    A moment is measured against the answer's own `Date`, never against our clock, which may be
    wrong. A moment without a zone, a fraction or a negative number is not a hint.

    >>> retry_after_s("7", "")
    7.0
    >>> retry_after_s("1.5", "") is None
    True
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), HINT_MAX_S)
    moment, now = _instant(value), _instant(date)
    if moment is None or now is None:
        return None
    return min(max((moment - now).total_seconds(), 0.0), HINT_MAX_S)


def _instant(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None
