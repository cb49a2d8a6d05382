"""What the names of columns and files suggest."""

import re
from pathlib import Path

from backfill.encoding.column_names import meaning, plain_name

_PERSON = (
    "customer|user|person|people|contact|member|subscriber|client|account|profile|distinct|buyer"
    "|lead|visitor|guest|patient|student|kunden?|cliente?|recipient"
)
_NUMBER = "id|ids|uuid|guid|key|ref|nr|no|number|nummer|code"
_PERSON_ID = re.compile(rf"({_PERSON})_?({_NUMBER})|uid|external_id|{_PERSON}")
_EMAIL = re.compile(r"(.+_)?(e_?)?mail(_?(address|adresse|id))?")
_TIMESTAMP = re.compile(
    r"(.*_)?(at|on|date|datum|day|time|times?tamp|ts|when|created|updated|modified|ordered|joined"
    r"|since|signed_up|registered|opened|born|birthday|birthdate|dob|received|sent|uhrzeit"
    r"|zeitpunkt|epoch|start|end|expires|expiry)(_.*)?"
)
_OCCURRED = re.compile(
    r"occurred(_at|_on)?|event_?(time|timestamp|date|at)|timestamp|time|ts|date|datum|datetime"
    r"|happened_at|(ordered|placed|purchased|opened|sent|paid|bestellt)_(at|on|am)|order_date"
    r"|bestelldatum|created(_at|_on)?"
)
_CREATED = re.compile(
    r"((profile|contact|account|customer|user)_)?created?(_?(at|on|date|time))?|date_added|(sign(ed)?_?up|join(ed)?|register(ed)?|registration|subscribed"
    r"|opt_?in|member_since|customer_since)(_?(at|on|date|time))?|date_(joined|created|registered)"
    r"|angemeldet(_am)?|angelegt(_am)?|registriert(_am)?|kunde_seit|erstellt(_am)?"
)
_SINCE = re.compile(
    r"last_.*|(.*_)?(updated?|modified|birth(day|_?date)?|born|dob|geburtstag|geburtsdatum|seen"
    r"|login|unsubscribed|subscribed|expires|expiry|valid_until)(_?(at|on|date|time))?"
)
_OF_PERSON = re.compile(
    r"(first|last|given|family|full|middle|sur)_?name|vorname|nachname|phone(_number)?|mobile"
    r"|telefon|birth(day|_?date)|dob|geburts(tag|datum)|gender|salutation|anrede|.*(e_?)?mail.*"
)
_UNSUBSCRIBED = re.compile(
    r"(?:^|_)(unsub(scribed?|scribes|scribers?|scriptions?)?|opt_?outs?|do_not_(e?_?mail|contact)"
    r"|(e?mail_)?(black|block)lists?|cleaned_(members|audience|contacts|e?_?mails?)|abgemeldete?"
    r"|abmeldungen|werbesperren?|d[eé]sinscrits?|d[eé]sabonn[eé]s?)(?:_|$)"
)
_PATH = re.compile(r"[\w$]+(\.[\w$]+)+")
_OWN_ID = re.compile(r"(record|row|object|internal|system)?_?(id|uuid|guid)")
_EVENT_NAME = re.compile(r"(event|action|activity)(_?(name|type))?|event|verb|ereignis")
_NOT_A_NUMBER = re.compile(
    rf".*(^|_)({_NUMBER}|zip|zipcode|plz|postal|postcode|postleitzahl|phone|tel|telephone|telefon"
    r"|mobile|fax|sku|ean|isbn|iban|vat|barcode|version|account|card)(_(?!of_).*|$)"
)
_OWN_KEY = re.compile(rf"(.+_)?({_NUMBER}|name|order|ticket|invoice|token|hash|reference)")
_EVENT_KEY = re.compile(
    r"(message|event|insert|transaction|order|invoice|ticket|payment|charge|log|record)"
    rf"_?({_NUMBER})|uuid|guid"
)
_NO_KEY = re.compile(rf"(anonymous|session|device|visit|.*{_PERSON})_?({_NUMBER}|name)|.+_name")
_YES_OR_NO = re.compile(
    r"(is|has|was|can|did|opt|wants|accepts)_.+|vip|active|enabled|verified|confirmed|subscribed"
    r"|unsubscribed|newsletter|consent|deleted|test|paid|b2b"
)
_DELETIONS = re.compile(
    r"delet|eras|gdpr|dsgvo|forget|forgotten|suppress|privacy|right_to|loesch|lösch|purge"
)
_CUSTOMERS = re.compile(
    rf"(?:^|_)({_PERSON})s?(?:_|$)|kunden|newsletter|mailing|leads|people|abonnent|audience"
    r"|(?:^|_)(un)?subscribed(?:_|$)"
)
_EVENTS = re.compile(
    r"(?:^|_)(events?|orders?|payments?|purchases?|transactions?|invoices?|charges?|refunds?|sales"
    r"|log|logs|clicks?|visits?|sessions?|page_?views?|activit(y|ies)|bestellungen|zahlungen"
    r"|rechnungen|commandes|pedidos)$"
)
_NUMBERS = re.compile(r"(_|^)(v?\d+|export|dump|final|copy|backup|all|data)(?=_|$)")
_SUFFIXES = re.compile(r"(\.(csv|tsv|jsonl|ndjson|json|parquet|gz|zst))+$", re.IGNORECASE)


def label(name: str) -> str:
    """What of a column's name says what it holds: of the member of an object its own name.

    >>> label("properties.distinct_id"), label("user.id"), label("_id.$oid"), label("incl. tax")
    ('distinct_id', 'user.id', '_id', 'incl. tax')
    """
    return meaning(name) if _PATH.fullmatch(name) and not says_person(name) else name


def says_person(name: str) -> bool:
    """Whether a column of this name tells people apart: `customer_id`, `userId`, `Kundennummer`."""
    return _PERSON_ID.fullmatch(plain_name(name)) is not None


def says_email(name: str) -> bool:
    """Whether a column of this name holds e-mail addresses."""
    return _EMAIL.fullmatch(plain_name(name)) is not None


def says_timestamp(name: str) -> bool:
    """Whether a column of numbers with this name may hold timestamps."""
    return _TIMESTAMP.fullmatch(plain_name(name)) is not None


def says_occurred(name: str) -> bool:
    """Whether a column of this name may say when an event happened."""
    return _OCCURRED.fullmatch(plain_name(name)) is not None


def says_created(name: str) -> bool:
    """Whether a column of this name says since when there is a person: `created_at`."""
    return _CREATED.fullmatch(plain_name(name)) is not None


def says_since(name: str) -> bool:
    """Whether a column of this name says something about a person: `created_at`, `last_login`."""
    return says_created(name) or _SINCE.fullmatch(plain_name(name)) is not None


def says_of_person(name: str) -> bool:
    """Whether only people have a column of this name: `first_name`, `phone`."""
    return _OF_PERSON.fullmatch(plain_name(name)) is not None


def says_own_id(name: str) -> bool:
    """Whether a column of this name tells rows apart, whatever they are: `id`, `Record ID`."""
    return _OWN_ID.fullmatch(plain_name(name)) is not None


def says_event(name: str) -> bool:
    """Whether a column of this name names events."""
    return _EVENT_NAME.fullmatch(plain_name(name)) is not None


def says_text(name: str) -> bool:
    """Whether digits under this name are no quantity: a postal code, a telephone number, an id."""
    return _NOT_A_NUMBER.fullmatch(plain_name(name)) is not None


def says_key(name: str) -> bool:
    """Whether a column of this name may be what makes an event itself: `order_id`."""
    return _OWN_KEY.fullmatch(plain_name(name)) is not None and not _NO_KEY.fullmatch(
        plain_name(name)
    )


def says_event_key(name: str) -> bool:
    """Whether a column of this name is made to tell events apart: `messageId`, `$insert_id`."""
    return _EVENT_KEY.fullmatch(plain_name(name)) is not None


def says_yes_or_no(name: str) -> bool:
    """Whether 0 and 1 under this name mean no and yes."""
    return _YES_OR_NO.fullmatch(plain_name(name)) is not None


def says_deletions(name: str) -> bool:
    """Whether a file of this name lists people to be deleted."""
    return _DELETIONS.search(plain_name(name)) is not None


def says_customers(name: str) -> bool:
    """Whether a file of this name lists people."""
    return _CUSTOMERS.search(plain_name(stem(name))) is not None


def says_unsubscribed(name: str) -> bool:
    """Whether a file of this name lists people who want no mail: `unsubscribed.csv`."""
    return _UNSUBSCRIBED.search(plain_name(stem(name))) is not None


def says_events(name: str) -> bool:
    """Whether a file of this name lists what happened: `orders-2024.csv`, `user_events.jsonl`."""
    return _EVENTS.search(subject(name)) is not None


def stem(name: str) -> str:
    """The name of a file without its extensions.

    >>> stem("orders-2023.csv.gz")
    'orders-2023'
    """
    return _SUFFIXES.sub("", Path(name).name)


def subject(name: str) -> str:
    """What a file is about, as far as its name says: without dates and numbers.

    >>> subject("orders-2023.csv.gz"), subject("Export 2024-01-31 tickets.csv")
    ('orders', 'tickets')
    """
    whole = plain_name(stem(name))
    return _NUMBERS.sub("", whole).strip("_") or whole
