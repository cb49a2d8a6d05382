"""Who a row is about, and the id that an event keeps for ever.

An event's id is a ULID: the event's own milliseconds, then 80 bits of BLAKE2b over what the event
is. The same event has the same id on every machine, in every run, from every file, so that
Customer.io, which ignores an id it has seen, keeps one of however many copies arrive
(docs: "If an event repeats a value we've already received, we ignore the duplicate").
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, product, repeat
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from backfill.encoding.cell_json import Cells
from backfill.encoding.json_text import Encoded, Mask, as_mask, escaped
from backfill.instants import characters

SCHEME = b"cio-event-v1"
"""The way ids are made. It goes into every id: another scheme never collides with this one."""

IDENTIFIER_BYTES_MAX = {"id": 150, "email": 254, "cio_id": 150, "object_id": 150}
"""The longest identifier of each type, in bytes of UTF-8. The API limits ids of people and objects
(Track OpenAPI); an e-mail address has its limit from RFC 5321, 4.5.3.1.3."""

_ASCII_MAX = 0x7F
_INVISIBLE = "\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}\N{WORD JOINER}\N{ZERO WIDTH JOINER}"
_LABEL = r"[\pL\pM\pN_-]+"
EMAIL = rf"^[^@\s:;,<>]+@{_LABEL}(\.{_LABEL})*$"
"""One address and nothing around it. Quoted local parts may hold more (RFC 5321, 4.1.2), but what
files have of the kind are several addresses in a cell, a name before one, or a `mailto:`."""
ULID_LENGTH = 26
MILLISECONDS_MAX = 2**48 - 1
_ENTROPY_BYTES = 10
_NULL_WORDS = pa.array(
    word
    for each in (
        *("null", "undefined", "nan", "none", "n/a", "nil", "true", "false"),
        *("#n/a", "#null!", "#ref!", "#name?", "#value!", "#div/0!", "#num!"),
        *("total", "totals", "grand total", "sum", "summe", "gesamt", "gesamtsumme"),
    )
    for word in dict.fromkeys((each, each.upper(), each.capitalize(), each.title(), "NaN"))
).unique()
"""What stands where nobody is known, and before the sums below a table."""
_FLOAT = r"^[+-]?[0-9]+(?:\.[0-9]*(?:[eE][+-]?[0-9]+)?|[eE]\+[0-9]+)$"
"""`42.0`, `1.2E+15`; not `12e4`, which may be half of a hash."""
_EXPONENT = r"^-?[0-9.]+[eE]"

_CONSENT_WORDS = pa.array(
    form
    for each in ("unsubscribed", "opted_out", "opted_in", "opt_out", "opt_in", "cleaned")
    for word in (each, each.replace("_", "-"), each.replace("_", " "))
    for form in dict.fromkeys((word, word.upper(), word.capitalize(), word.title()))
).unique()
"""What columns of a state hold where the state is consent (Mailchimp, Braze, Klaviyo)."""

_SEEDS = {"id": 0, "email": 1, "cio_id": 2}
"""The same text is somebody else as another type of identifier."""
_ALPHABET = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = np.frombuffer(bytes(chain.from_iterable(product(_ALPHABET, repeat=2))), dtype=np.uint16)
"""The two letters of every ten bits."""


def ulid_text(milliseconds: int, entropy: bytes) -> str:
    """Write one ULID.

    Args:
        milliseconds: Unix milliseconds, 0 to 2**48 - 1.
        entropy: 10 bytes.

    >>> ulid_text(0, bytes(10))
    '00000000000000000000000000'
    """
    return str(ulids(np.array([milliseconds], dtype=np.int64), [entropy])[0])


def ulids(milliseconds: npt.NDArray[np.int64], entropy: Sequence[bytes]) -> pa.StringArray:
    """Write a column of ULIDs.

    Args:
        milliseconds: Unix milliseconds, clamped to 0 … 2**48 - 1.
        entropy: 10 bytes for each.
    """
    time = np.clip(milliseconds, 0, MILLISECONDS_MAX).astype(np.uint64)
    # Ten bits are two letters: looking pairs up takes half as many steps as single ones.
    pad = np.frombuffer(b"".join(entropy), dtype=np.uint8).reshape(-1, _ENTROPY_BYTES)
    # Five bytes are four pairs of letters; two words that overlap have all ten.
    front, back = (pad[:, at : at + 8].view(">u8")[:, 0].astype(np.uint64) for at in (0, 2))
    tens = chain(_tens(time, 5), _tens(front >> np.uint64(24), 4), _tens(back, 4))
    pairs = np.empty((len(time), ULID_LENGTH // 2), dtype=np.uint16)
    for place, ten in enumerate(tens):
        pairs[:, place] = ten
    data = pa.py_buffer(_PAIRS[pairs])
    offsets = pa.py_buffer(np.arange(len(time) + 1, dtype=np.int32) * ULID_LENGTH)
    return pa.StringArray.from_buffers(len(time), offsets, data)


def _tens(words: npt.NDArray[np.uint64], count: int) -> Iterator[npt.NDArray[np.uint64]]:
    """The last `count` times ten bits of each word, the highest first."""
    for place in reversed(range(count)):
        yield (words >> np.uint64(10 * place)) & np.uint64(1023)


def person_key(identifier_type: str, person: pa.StringArray) -> pa.StringArray:
    """The form in which two rows are about the same person: e-mails in lower case."""
    return pc.utf8_lower(person) if identifier_type == "email" else person


def is_state(name: str) -> bool:
    """Whether a column of this name holds states, of which some are consent."""
    return name.lower().endswith(("status", "state", "subscribe"))


def says_consent(name: str, text: pa.StringArray) -> bool:
    """Whether a column of states holds words of consent: `unsubscribed`, `Opted-in`.

    Args:
        name: What it is called.
        text: Its values, string (n,).
    """
    if not is_state(name):
        return False
    return pc.any(pc.is_in(text, value_set=_CONSENT_WORDS)).as_py() is True


def differ(identifier_type: str, person: pa.StringArray, encoded: Encoded) -> pa.BooleanArray:
    """Where an attribute that is named as the identifier names somebody else.

    Args:
        identifier_type: The identifier's type.
        person: Whom the rows are about, string (n,).
        encoded: The attribute, n values.
    """
    text = encoded.text if encoded.quoted else pc.utf8_trim(encoded.text, '"')
    both = (escaped(person), pc.utf8_trim_whitespace(text))
    own, other = (person_key(identifier_type, some) for some in both)
    return pc.not_equal(own, other)


def oddities(person: pa.StringArray, column: str) -> dict[str, frozenset[str]]:
    """What among n identifiers people should know of, by the fields of `AttributeNames`.

    Args:
        person: Them.
        column: Where they stand; a file that was put together may have its name among them.
    """
    return {"null_words": _null_words(person, column), "text_marks": _text_marks(person)}


def _null_words(person: pa.StringArray, column: str) -> frozenset[str]:
    """Which of them are words for nothing: programs write them where nobody is known."""
    found = pc.is_in(person, value_set=_words_for_nothing(column))
    if not pc.any(found).as_py():
        return frozenset()
    return frozenset(pc.unique(person.filter(found)).to_pylist())


@lru_cache(maxsize=256)  # asked for with every chunk, and small files are chunks of few rows
def _words_for_nothing(column: str) -> pa.StringArray:
    headers = [column, column.lower(), column.upper(), column.capitalize(), column.title()]
    return pa.concat_arrays([_NULL_WORDS, pa.array(headers)])


def _text_marks(person: pa.StringArray) -> frozenset[str]:
    """How any of them is marked as text, as spreadsheets need it: `'7000`, `="7000"`."""
    used = characters(person)
    marks = {"'": r"^'[-+=@0-9]", '="': '^="'}
    return frozenset(
        mark
        for mark, pattern in marks.items()
        if (used == ord(mark[-1])).any()
        and pc.any(pc.match_substring_regex(person, pattern)).as_py()
    )


def trimmed(emails: Encoded) -> Encoded:
    """N e-mail addresses without the blanks around them; their sizes are now at most as said."""
    return replace(emails, text=bare("email", emails.text))


def bare(identifier_type: str, text: pa.StringArray) -> pa.StringArray:
    """N identifiers without the blanks around them, e-mail addresses without all that is unseen.

    Pages and spreadsheets leave it behind where addresses are copied.
    """
    text = pc.utf8_trim_whitespace(text)
    if identifier_type != "email" or bool((characters(text) <= _ASCII_MAX).all()):
        return text
    return pc.utf8_trim_whitespace(pc.utf8_trim(text, _INVISIBLE))


def misfits(identifier_type: str, person: pa.StringArray) -> dict[str, pa.BooleanArray]:
    """Which of n identifiers, "" where there is none, cannot be one of their type, by why."""
    longest = IDENTIFIER_BYTES_MAX[identifier_type]
    found = {"identifier_too_long": pc.greater(pc.binary_length(person), longest)}
    if identifier_type == "email":
        fits = pc.match_substring_regex(person, rf"^$|{EMAIL}")
        found["identifier_not_an_email"] = pc.invert(fits)
    return found


def hold_others(emails: pa.StringArray) -> bool:
    """Whether any of n texts that should be e-mail addresses is none; null and "" are nothing."""
    return pc.all(pc.match_substring_regex(emails, rf"^$|{EMAIL}")).as_py() is False


def holds_floats(person: pa.StringArray, cells: Cells) -> bool:
    """Whether any of n identifiers is a number that was written with a point or an exponent.

    Args:
        person: The identifiers, as text.
        cells: The same as the source holds them; a number in JSON is no hash, whatever its form.
    """
    if cells.kind == "json" and pc.any(pc.match_substring_regex(cells.column, _EXPONENT)).as_py():
        return True
    used = characters(person)
    if not ((used == ord(".")) | (used == ord("+"))).any():  # mostly, and told at once
        return False
    return bool(pc.any(pc.match_substring_regex(person, _FLOAT)).as_py())


def no_texts(cells: Cells) -> Mask | None:
    """Which of n cells are JSON that names nobody: an object, a list, true or false.

    As text an object has members: `{3F2504E0-…}` is an id like others.
    """
    if cells.kind != "json":
        if not pa.types.is_string(cells.column.type) or not _holds_brackets(cells.column):
            return None
        found = as_mask(pc.match_substring_regex(cells.column, r"^\s*(?:\{\s*\"|\[\s*[\[{\"])"))
        return found if found.any() else None
    found = as_mask(pc.match_substring_regex(cells.column, r"^(?:[\[{]|true$|false$)"))
    return found if found.any() else None


def _holds_brackets(text: pa.StringArray) -> bool:
    used = characters(text)
    return bool(((used == ord("{")) | (used == ord("["))).any())


def in_path(person: str) -> str:
    """An identifier as one segment of a path, as it goes over the wire.

    All but letters, digits and `-._~` is encoded, as the official clients do: servers read a bare
    "," or ";" as a list, and "+" as a space, though a path may hold them (RFC 3986, pchar).

    >>> in_path("a/b+c@example.com")
    'a%2Fb%2Bc%40example.com'
    """
    return quote(person, safe="")


def people(identifier_type: str, person: pa.StringArray) -> npt.NDArray[np.uint64]:
    """A hash for whom each row is about: the same for the same person, however it is written.

    Events have few people and many rows: each is hashed once. What is no person has a type of its
    own, as `operations.subjects` gives it.
    """
    keys = person_key(identifier_type, person).dictionary_encode()
    # Seeded by the type below: an id and an e-mail of the same text are two people.
    content = keys.dictionary.cast(pa.binary()).to_pylist()
    places: npt.NDArray[np.int32] = keys.indices.to_numpy()
    seed = _SEEDS.get(identifier_type)
    if seed is None:
        seed = xxhash.xxh3_64_intdigest(identifier_type.encode())
    return hashes(content, seed)[places]


def entropy(content: Iterable[bytes]) -> list[bytes]:
    """80 bits for each event's content: what an id holds besides the time."""
    begun = blake2b(digest_size=_ENTROPY_BYTES, person=SCHEME)
    made = []
    for each in content:
        hashed = begun.copy()  # in two thirds of the time that beginning anew takes
        hashed.update(each)
        made.append(hashed.digest())
    return made


def with_occurrence(content: bytes, occurrence: int) -> bytes:
    """The content of the n-th of several rows that are alike in every field; the first is 0."""
    return content if occurrence == 0 else b"%b#%d" % (content, occurrence)


def hashes(content: Iterable[bytes], seed: int = 0) -> npt.NDArray[np.uint64]:
    """128 bits for each value, shape (n, 2): equal for equal values, and only for those.

    Enough to find repeats among any number of rows; ids are made by `entropy` instead.
    """
    digests = map(xxhash.xxh3_128_digest, content, repeat(seed))
    return np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)
