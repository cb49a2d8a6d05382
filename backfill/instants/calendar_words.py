"""Names of months and weekdays: English by itself, other languages from CLDR."""

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

LANGUAGES = (
    *("bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hu", "id", "it", "lt"),
    *("lv", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "tr", "uk"),
)
"""The languages whose names are read. No name of a month means two months among them (a test asks
CLDR); Croatian is not here, since its lipanj and listopad are other months next door."""

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _english(names: tuple[str, ...]) -> dict[str, int]:
    numbered = list(enumerate(names))
    return {name: at for at, name in numbered} | {name[:3]: at for at, name in numbered}


_ENGLISH_MONTHS = _english(_MONTHS) | {"sept": 8}
_ENGLISH_WEEKDAYS = _english(_WEEKDAYS)


def month_of(word: str) -> int | None:
    """The number of a month, 1 to 12, by its full or short name in lower case; None if it is none.

    >>> month_of("january"), month_of("févr"), month_of("soon")
    (1, 2, None)
    """
    if word in _ENGLISH_MONTHS:  # nothing is loaded for files in English
        return _ENGLISH_MONTHS[word] + 1
    return next(iter(_by_word("months").get(word, ())), None)


def weekdays_of(word: str) -> frozenset[int]:
    """The weekdays that a name in lower case can mean, Monday being 0; none if it is no name.

    >>> sorted(weekdays_of("mercredi")), sorted(weekdays_of("so"))
    ([2], [5, 6])
    """
    if word in _ENGLISH_WEEKDAYS:
        return frozenset([_ENGLISH_WEEKDAYS[word]])
    return _by_word("days").get(word, frozenset())


@lru_cache(maxsize=2)
def _by_word(kind: str) -> Mapping[str, frozenset[int]]:
    """What each word means: full and short names, as in a date and as they stand alone."""
    from babel import Locale  # noqa: PLC0415 - it takes a third of a second, and few files need it

    found: dict[str, frozenset[int]] = {}
    for language in LANGUAGES:
        names = getattr(Locale.parse(language), kind)
        for context in ("format", "stand-alone"):
            for width in ("wide", "abbreviated"):
                for number, name in names[context][width].items():
                    # The last word: some languages put an article or preposition before a name.
                    word = unicodedata.normalize("NFC", name.lower()).rstrip(".").rpartition(" ")[2]
                    found[word] = found.get(word, frozenset()) | {number}
    return found
