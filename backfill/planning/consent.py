"""Consent: columns that say who wants mail, and how many people an import unsubscribes.

What tools call such columns is told by their words; `known_consent` lists the forms that are known
from exports, and those whose words tell nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pyarrow.compute as pc

from backfill.encoding.column_names import plain_name
from backfill.operations.encode import Accepted
from backfill.pipeline.column_settings import PREFERENCES, is_consent
from backfill.pipeline.source_settings import CustomersSource
from backfill.sources.layout import AttributeNames

Channel = Literal["", "sms", "push", "whatsapp", "phone"]

_HINTS = (
    *("uns", "opt", "do_not", "donot", "dont", "don_t", "no_", "nomail", "suppress", "suspend"),
    *("list", "cancel", "abgemeldet", "abmeld", "sperre", "widerspruch", "inscrit", "abonn"),
    *("accept", "consent", "consens", "newsletter", "subscri", "suscri", "permission", "_stat"),
    *("receive", "allow", "want", "marketing", "legal_basis", "einwilligung", "clean_time"),
    *("msg_", "excluded", "mailable", "contactable", "can_", "may_", "agree", "dnc", "promo"),
    *("_ok", "ok_", "gdpr", "dsgvo", "rgpd", "bounce", "complain", "spam", "_enabled", "werb"),
    *("kein", "nicht", "abbestell"),
)
"""One of these is in every name that says something of consent."""

_MAIL = r"(e_?)?mails?"
_WORDS: tuple[tuple[Literal["in", "out"], str], ...] = (
    ("out", r"unsub(scribed?)?"),
    ("out", r"opt(ed)?_?out"),
    ("out", rf"(do_?not|don_?t)_?(allow_)?(bulk_?)?({_MAIL}|contact|call|send|market|text|sms)s?"),
    ("out", rf"no_?({_MAIL}|marketing|newsletters?|contact|molestar)"),
    ("out", r"suppressed|dnc|(e_?mail|sms)_suppress(ed|ions?)|(e_?mail|marketing)_suspended"),
    ("out", r"((e_?mail|sms)_?)?(black|block)_?list(ed)?"),
    # Sent again, it comes back again; how many came back says nothing of whom to write to.
    ("out", r"hard_?bounced?|(?<!mails_)bounced"),
    ("out", r"(marked_as|reported(_as)?)_spam|spam_(complaint|complained|reported)|complained"),
    ("out", rf"keine?n?_(werb(ung|e_?mails?)|mailings?|{_MAIL}|kontakt(aufnahme)?)"),
    ("out", r"nicht_(kontaktieren|anschreiben|anmailen)|(newsletter_)?abbestell(t|ung)"),
    ("out", r"abgemeldet|abmeldung|werbesperre|werbewiderspruch|kontaktsperre"),
    ("out", r"d[eé]sinscrit|d[eé]sabonn[eé]"),
    ("in", r"(double_?|confirmed_?)?opt(ed)?_?in|subscribed|newsletter|mailing_list"),
    ("in", r"consent|consentimiento|consentement|consenso|suscri(to|pto)|legal_basis"),
    (
        "in",
        r"(gdpr|dsgvo|rgpd)(?=$|_(ok|yes|flag|status|given|agreed|accepted|marketing|e?_?mail)$)",
    ),
    ("in", rf"({_MAIL}|mailing|sms|contact|marketing|werbung)_ok"),
    ("in", r"ok_(to|for)_(be_)?(e_?mail|mail|contact|call|text|sms|market)(ing|ed)?"),
    ("in", rf"(accept(s|ed)?|agree[sd]?(_to)?)_(.+_)?({_MAIL}|marketing|newsletters?)"),
    ("in", rf"(receive|allow|want)s?_(.+_)?({_MAIL}|marketing)"),
    ("in", r"((e_?)?mail|sms|push|marketing|mailing|subscriber|newsletter)_subscri(be|ption)"),
    ("in", r"((e_?)?mail|sms|push|marketing|mailing|newsletter)_(permission|enabled)"),
    ("in", r"(e_?mail|sms|push|marketing|subscriber)_(subscri(be|ption)_)?stat(us|e)"),
    ("in", r"permission_to_(be_)?(e_?mail|mail|contact|call|market)(ed)?"),
    ("in", r"(e_?mail|marketing|contact|werbung)_(allowed|permitted|erlaubt)"),
    ("in", r"(can|may)_(be_)?(e_?mail|contact)(ed)?|(e_?)?mailable|contactable"),
    # Of such mails there are also those that were sent, opened, clicked: figures.
    ("in", rf"(promo(tional|tions?)?|marketing)_{_MAIL}(?=$)|e_?mail_marketing(?=$)"),
    ("in", r"(werbe_?)?einwilligung|werbe_?(erlaubnis|zustimmung)"),
)
"""The words of consent, and what yes means where one is said: they stand behind and before others
(`(.*_)?` and `(_.*)?`). What says `out` is looked at first: `no_newsletter`."""

_NEGATED = (
    r"(^|_)(not?|never|without|missing|keine?[nmrs]?|nicht|ohne|pas_de|sans|sin|n[aã]o|senza"
    r"|do(es)?_?n_?t|can_?t|cannot|declines?|refuses?|rejects?|excluded?_from)_"
    r"|_(withdrawn|revoked|denied|declined|refused|rejected|cancell?ed|abgelehnt|widerrufen)(_|$)"
)
"""What turns an opt-in round: yes means that it is not there."""

_ABOUT = (
    r"_(ip|ids?|source|method|url|reason(_other)?|campaign(_(id|title))?|type|by|nl|subtype|version"
    r"|count|sent|level|name|text|language|country|region|plan|frequency|score)$"
)
"""What ends so is about consent, and says no yes or no."""
_WHEN = r"_(time|date|timestamp|at|on)$"
"""A timestamp beside an opt-in; one of an opt-out says that there is one."""
_CHANNELS: Mapping[Channel, str] = {
    "sms": r"(.*_)?(sms|text(_messages?)?|mobile)(_.*)?",
    "push": r"(.*_)?push(_.*)?",
    "whatsapp": r"(.*_)?whatsapp(_.*)?",
    "phone": r"(.*_)?(calls?|phone|fax)(_.*)?",
}
# Not compiled before a name calls for it: that takes milliseconds, and most files have none.


@dataclass(frozen=True, slots=True)
class ConsentColumn:
    """What a column of consent says.

    Args:
        yes: Whether yes in it means that a person wants mail, or none.
        channel: What it is about, as the service calls it; empty: e-mail, or everything; phone:
            nothing that the service sends.
    """

    yes: Literal["in", "out"]
    channel: Channel = ""


def consent_in(name: str) -> ConsentColumn | None:
    """What a column of this name says of consent; None: nothing.

    >>> consent_in("Do Not Email"), consent_in("accepts_sms_marketing"), consent_in("plan")
    (ConsentColumn(yes='out', channel=''), ConsentColumn(yes='in', channel='sms'), None)
    """
    plain = plain_name(name)
    if not any(hint in plain for hint in _HINTS):
        return None
    from backfill.planning.known_consent import BY_NAME  # noqa: PLC0415  # few files need it

    if plain in BY_NAME:
        return BY_NAME[plain]
    channels = (channel for channel, words in _CHANNELS.items() if re.fullmatch(words, plain))
    if re.search(_ABOUT, plain):
        return None
    for means, words in _WORDS:
        if re.fullmatch(rf"(.*_)?({words})(_.*)?", plain):
            yes: Literal["in", "out"] = "out" if re.search(_NEGATED, plain) else means
            is_said = yes == "out" or not re.search(_WHEN, plain)
            return ConsentColumn(yes, next(channels, "")) if is_said else None
    return None


def ordinary(source: CustomersSource, names: AttributeNames) -> list[str]:
    """The columns that look like consent and are sent as attributes that stop no mail.

    Args:
        source: The settings.
        names: What the attributes are called, and which of them hold words of consent.
    """
    declared = source.declared()
    column_of = {name: each.from_ or name for name, each in declared.items()}
    # Who has made `unsubscribed` of a column has answered, and may keep it as it is besides.
    answered = {column for name, column in column_of.items() if is_consent(name)}
    found = set()
    for name in names.all:
        column = column_of.get(name, name)
        if is_consent(name) or name.startswith(f"{PREFERENCES}.") or column in answered:
            continue
        if name == PREFERENCES and name not in declared:  # as text it says nothing
            found.add(column)
        means = consent_in(name) or consent_in(column)
        # Whom nobody may call can still be written to: the service calls nobody.
        if name in names.consent_words or (means and means.channel != "phone"):
            found.add(column)
    return sorted(found)


Counts = dict[str, Counter[str]]
"""By attribute, how many people it is sent as `true` for, and as `false`."""


def counted(accepted: Accepted) -> Counts:
    """What n rows say of consent."""
    found: Counts = {}
    columns = accepted.members.columns
    # Wide rows are written as a whole; of them only those that say something are read again.
    if len(columns) == 1 and not columns[0].opening:
        text = columns[0].value
        says = pc.match_substring_regex(text, f'"(unsubscribed|{PREFERENCES}[.][^"]+)":')
        for members in text.filter(says).to_pylist():
            _add(found, orjson.loads(f"{{{members}}}"))
        return found
    for each in columns:
        name = each.opening.strip('":')
        if is_consent(name):
            values = pc.value_counts(each.value.drop_null()).to_pylist()
            found[name] = Counter({one["values"]: one["counts"] for one in values})
    return found


def add_people(counts: Counts, people: Iterable[str | None]) -> None:
    """Count merged people, each with all that their rows say, as members; None says nothing."""
    for members in people:
        # Most people say nothing of it, and need not be read.
        if members is not None and (PREFERENCES in members or "unsubscribed" in members):
            _add(counts, orjson.loads(f"{{{members}}}"))


def _add(counts: Counts, said: Mapping[str, Any]) -> None:
    for name, value in said.items():
        if is_consent(name) and isinstance(value, bool):
            counts.setdefault(name, Counter())["true" if value else "false"] += 1
