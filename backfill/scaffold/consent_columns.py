"""Consent in files nobody has described: what becomes `unsubscribed`, a topic or a channel.

The service sends mail to whoever does not have `unsubscribed`, whatever other attributes say. So a
column that says who wants mail is declared, where its values leave no doubt; else it is asked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from backfill.encoding.column_names import plain_name
from backfill.pipeline.column_settings import PREFERENCES
from backfill.pipeline.mistakes import TODO
from backfill.planning.consent import Channel, ConsentColumn, consent_in
from backfill.scaffold import names
from backfill.scaffold.attributes import declarable
from backfill.scaffold.column_profile import ColumnProfile
from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.pipeline_text import Setting, Value, some, toml

UNSUBSCRIBED = "unsubscribed"

_STATES: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(
        ("subscribed", "opted_in", "opt_in", "confirmed", "abonniert", "angemeldet", "inscrit"),
        True,
    )
    | dict.fromkeys(
        ("unsubscribed", "opted_out", "opt_out", "cleaned", "suppressed", "complained", "spam"),
        False,
    )
    | dict.fromkeys(("blacklisted", "blocklisted", "abgemeldet", "désinscrit", "redacted"), False)
)
"""Words for whether a person is subscribed, whatever the column asks (Mailchimp, Klaviyo, Braze,
Shopify, Pipedrive). What means neither (pending, never subscribed) is asked."""

_ANSWERS: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(("ja", "oui", "si", "sí", "sì", "sim", "tak", "ano", "igen", "kyllä"), True)
    | dict.fromkeys(("wahr", "vrai", "verdadero", "vero", "да", "はい", "1.0", "checked"), True)
    | dict.fromkeys(("nein", "non", "nee", "não", "nao", "nie", "ne", "nem", "nej", "ei"), False)
    | dict.fromkeys(("falsch", "faux", "falso", "нет", "いいえ", "0.0", "unchecked"), False)
)
"""Yes and no in the languages of exports, besides those that every boolean takes."""

_BOOLEANS = MappingProxyType(
    dict.fromkeys(("true", "t", "yes", "y", "1", "on"), True)
    | dict.fromkeys(("false", "f", "no", "n", "0", "off"), False)
)


@dataclass(slots=True)
class ConsentProposal:
    """What the settings say of consent.

    Args:
        settings: Declarations, and suggestions.
        used: The columns that need no declaration of their own any more.
        dropped: Those of them that are not sent.
        open: The keys that somebody has to decide.
        remarks: What people should know of it.
    """

    settings: list[Setting] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    dropped: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


Found = tuple[ColumnProfile, ConsentColumn]
"""A column, and what it says of consent."""

_NOT_ALL = re.compile(r"newsletter|mailing_list|topic|digest|promo|bounce|spam|complain")
"""Words of columns that speak of some mail, or of how mail came back."""


def propose_consent(look: FileProfile, taken: set[str]) -> ConsentProposal:
    """What to make of the columns that say who wants mail.

    Args:
        look: Files of people.
        taken: The columns that identify them.
    """
    made = ConsentProposal()
    found = [
        (column, means)
        for column in declarable(look)
        if column.name not in taken
        and look.is_readable(column.name)
        and (means := _means(column)) is not None
    ]
    main = _main([each for each in found if not each[1].channel])
    if main is not None:
        _declare_main(made, *main)
    elif rivals := [column for column, means in found if not means.channel]:
        _ask(made, rivals, "which of them says who wants no mail at all?")
    elif any(map(names.says_unsubscribed, look.file_names)):
        why = "the name of the file says that these people want no mail"
        made.settings.append(Setting(UNSUBSCRIBED, {"value": True}, why))
        made.remarks.append(f"{why}: unsubscribed = {{ value = true }} is declared for all of them")
    if any(each.key == UNSUBSCRIBED for each in made.settings):
        made.used.add(UNSUBSCRIBED)  # a column of that name is declared once
    _declare_channels(made, [each for each in found if each[1].channel])
    done = made.used | ({main[0].name} if main else set())
    left = [each for each in found if each[0].name not in done and each[1].channel != "phone"]
    if left and main is not None:
        opposite = [each for each in left if _is_opposite(main, each)]
        if opposite and not made.open:
            _drop(made, main[0], [column for column, _ in opposite])
        if topics := [column.name for column, means in left if (column, means) not in opposite]:
            _suggest_topics(made, topics)
    return made


def _is_opposite(main: Found, other: Found) -> bool:
    """Whether a column asks the same as the main one, the other way round: no topic, no bounce."""
    yes, channel = main[1].yes, other[1].channel
    return not channel and other[1].yes != yes and not _NOT_ALL.search(plain_name(other[0].label))


def _drop(made: ConsentProposal, main: ColumnProfile, columns: list[ColumnProfile]) -> None:
    """Leave out what `unsubscribed` is not made of: sent as it is, it would stop no mail."""
    made.dropped += [each.name for each in columns]
    made.used.update(made.dropped)
    held = "; ".join(f"{each.name} holds {_words(each)}" for each in columns)
    made.remarks.append(
        f"{main.name} decides who wants no mail, and {some(made.dropped)} is not sent: {held};"
        f" where the two disagree, make unsubscribed of the other one and drop {main.name}"
    )


def _means(column: ColumnProfile) -> ConsentColumn | None:
    """What a column says of consent, by its name, or by words that mean nothing else."""
    if plain_name(column.label) == UNSUBSCRIBED:
        return ConsentColumn("out")
    words = set(map(plain_name, column.distinct.few or ()))
    by_words = words & {"unsubscribed", "opted_out", "opted_in", "cleaned"}
    return consent_in(column.label) or (ConsentColumn("in") if by_words else None)


def _main(found: list[Found]) -> Found | None:
    """The column that says who wants no mail at all; None where there is none, or it is a guess."""
    own = [each for each in found if plain_name(each[0].label) == UNSUBSCRIBED]
    every = [each for each in found if "all" in plain_name(each[0].label).split("_")]
    outs = [each for each in found if each[1].yes == "out"]
    outs = [each for each in outs if not _NOT_ALL.search(plain_name(each[0].label))] or outs
    # Who has opted out wants none, whatever else is asked; of several, one may be for all of them.
    for some_ in (own, every, outs, found):
        if len(some_) == 1:
            return some_[0]
        if some_:
            return None
    return None


def _declare_main(made: ConsentProposal, column: ColumnProfile, means: ConsentColumn) -> None:
    declared = declaration(column, means, wants="out")
    if declared is None:
        _ask(made, [column], f"it holds {_words(column)}: which of them mean unsubscribed?")
        return
    if column.timestamps() is None:
        made.used.add(column.name)
    if column.name == UNSUBSCRIBED and set(declared) == {"type"}:
        return  # judged so by itself
    note = f"holds {_words(column)}; {'yes' if means.yes == 'out' else 'no'} means no mail"
    if column.timestamps() is not None:
        note = "who has a timestamp here wants no mail"
    elif isinstance(outs := declared.get("true_values"), list) and "invert" not in declared:
        note = f"holds {_words(column)}; no mail: {', '.join(outs)}"
    made.settings.append(Setting(UNSUBSCRIBED, declared, note))
    made.remarks.append(f"{column.name} looks like consent: unsubscribed is declared from it")


def declaration(column: ColumnProfile, means: ConsentColumn, wants: str) -> dict[str, Value] | None:
    """How a column becomes a boolean; None where its values leave a doubt.

    Args:
        column: The column.
        means: What yes in it means.
        wants: What true is to mean: `out`, no mail, or `in`.
    """
    own: dict[str, Value] = {} if column.name == UNSUBSCRIBED else {"from": column.name}
    if column.timestamps() is not None:
        stars: dict[str, Value] = {"type": "boolean", "true_values": ["*"]}
        return {**own, **stars} if means.yes == wants == "out" else None
    few = column.distinct.few
    if few is None:
        return None
    words = {word: word.strip().lower() for word in few}
    inverted: dict[str, Value] = {} if means.yes == wants else {"invert": True}
    if all(word in _BOOLEANS or word in _ANSWERS for word in words.values()):
        # Those that every boolean takes need not be said.
        said = {word: _ANSWERS[plain] for word, plain in words.items() if plain in _ANSWERS}
        return {**own, "type": "boolean", **_values(said), **inverted}
    states = {word: _STATES.get(plain_name(plain)) for word, plain in words.items()}
    if None in states.values():
        return None
    return {
        **own,
        "type": "boolean",
        **_values({word: bool(is_in) is (wants == "in") for word, is_in in states.items()}),
    }


def _values(said: Mapping[str, bool]) -> dict[str, Value]:
    """The words that mean true, and those that mean false."""
    found: dict[str, Value] = {}
    for key, value in (("true_values", True), ("false_values", False)):
        if words := sorted(word for word, is_true in said.items() if is_true is value):
            found[key] = words
    return found


def _words(column: ColumnProfile) -> str:
    """What a column holds, with how often."""
    few = column.distinct.few
    if few is None:
        return f"{column.distinct.shown('value', 'values')} such as {', '.join(column.examples)}"
    return ", ".join(f"{word} {count:,} times" for word, count in few.most_common()) or "nothing"


def _ask(made: ConsentProposal, columns: list[ColumnProfile], question: str) -> None:
    """Leave open what `unsubscribed` is made of, with the choices."""
    made.open.append(f"columns.{UNSUBSCRIBED}")
    # Without spaces: a line of the comment that begins with `key =` would look like a suggestion.
    choices = [toml(_choice(column)).replace(" = ", "=") for column in columns]
    shown = some([column.name for column in columns])
    note = (
        f"{shown} {'looks' if len(columns) == 1 else 'look'} like consent; {question}"
        f' {" | ".join(choices)} | or remove this line, and set consent = "ignore"'
    )
    made.settings.append(Setting(UNSUBSCRIBED, TODO, note))
    made.remarks.append(f"{shown}: what says who wants no mail is to be decided")


def _choice(column: ColumnProfile) -> dict[str, Value]:
    """A declaration to be completed by who knows what the words mean."""
    means = _means(column) or ConsentColumn("out")
    declared = declaration(column, means, wants="out")
    if declared is not None:
        return declared
    few = list(column.distinct.few or ())
    states = {word: _STATES.get(plain_name(word)) for word in few}
    outs: list[Value] = [word for word, is_in in states.items() if is_in is False]
    ins: list[Value] = [word for word, is_in in states.items() if is_in]
    # What nobody names is unsubscribed: mail to who has not agreed is the greater harm.
    rest: dict[str, Value] = {"false_values": ins} if ins else {}
    return {"from": column.name, "type": "boolean", "true_values": [*outs, "*"], **rest}


def _declare_channels(
    made: ConsentProposal, found: list[tuple[ColumnProfile, ConsentColumn]]
) -> None:
    done: set[Channel] = set()
    for column, means in found:
        declared = declaration(column, means, wants="in")
        if means.channel == "phone" or means.channel in done or declared is None:
            continue
        done.add(means.channel)
        made.used.add(column.name)
        name = f"{PREFERENCES}.channels.{means.channel}"
        made.settings.append(
            Setting(name, declared, f"holds {_words(column)}; true means subscribed")
        )
        made.remarks.append(f"{column.name} looks like consent: {name} is declared from it")


def _suggest_topics(made: ConsentProposal, left: list[str]) -> None:
    """Say of columns that are left that they stop no mail, and how a topic would be declared."""
    made.remarks.append(
        f"{some(left)}: consent as well, it seems, and sent as attributes that stop no mail: the"
        " guard `consent` asks"
    )
    made.settings += [
        Setting(
            f"{PREFERENCES}.topics.topic_{number}",
            {"from": name, "type": "boolean"},
            f"if {name} is a topic of the workspace: with its number, and invert = true where yes"
            " means no mail",
            on=False,
        )
        for number, name in enumerate(left, 1)
    ]
