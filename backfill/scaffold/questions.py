"""What only a person can say; where nobody is asked it stays open, as TODO."""

from collections.abc import Callable
from dataclasses import dataclass

from backfill.instants import Reading, validate_reading


def anything(_: str) -> None:
    """Takes every answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Args:
        text: What is asked, as a sentence.
        default: What is taken where a person answers nothing; empty: it stays open.
        choices: The answers that there are; none: any.
        check: Raises ValueError, with a sentence, for an answer that cannot be.
    """

    text: str
    default: str = ""
    choices: tuple[str, ...] = ()
    check: Callable[[str], None] = anything


Ask = Callable[[Question], str | None]
"""Gives a person's answer; None where nobody is asked."""


def nobody(_: Question) -> None:
    """Asks nobody."""


def zone(text: str) -> None:
    """Raise ValueError unless it is the name of a time zone."""
    validate_reading(Reading("iso8601", timezone=text))
