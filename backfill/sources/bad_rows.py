"""Rows of bad shape: the reasons that reading can give, and what is kept of such a row."""

import codecs
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from backfill import rows
from backfill.rows import Reason, Rejection

ROW_BYTES_MAX = 1 << 20
"""A row longer than this is rejected."""

QUOTED_BYTES_MAX = 1 << 16
"""A quote still open after this many bytes is taken as never closed."""

RAW_BYTES_MAX = 1 << 16
"""How much is kept of the text of a rejected row."""

TOO_FEW_FIELDS = "too_few_fields"
TOO_MANY_FIELDS = "too_many_fields"
QUOTE_OUT_OF_PLACE = "quote_out_of_place"
UNCLOSED_QUOTE = "unclosed_quote"
INVALID_UTF8 = "invalid_utf8"
NUL_BYTE = "nul_byte"
ROW_TOO_LONG = "row_too_long"
INVALID_JSON = "invalid_json"
NOT_AN_OBJECT = "not_an_object"
DUPLICATE_KEY = "duplicate_key"

_DETAILS: Mapping[str, str] = MappingProxyType(
    {
        TOO_FEW_FIELDS: "the row has {found} cells, the header {expected}",
        TOO_MANY_FIELDS: "the row has {found} cells, the header {expected}",
        UNCLOSED_QUOTE: "a quote is opened and not closed; the next line was read as a new row",
        INVALID_UTF8: "byte {offset} of the row is not valid {encoding}",
        ROW_TOO_LONG: "the row is longer than 1 MiB; its first 64 kB are kept",
        INVALID_JSON: "not valid JSON at byte {offset} of the row: {problem}",
    }
)


def reason(code: str, **details: object) -> Reason:
    """The reason of that code, about the row as a whole, with what is known of the place."""
    return rows.reason(code, message=_DETAILS.get(code, "").format(**details))


def rejection(row: int, line: int, why: Sequence[Reason], raw: bytes, encoding: str) -> Rejection:
    """A row that is rejected for its shape.

    Its text is kept without the line end, up to `RAW_BYTES_MAX`. Where its bytes are not valid in
    the encoding, each byte is written as the character of the same number, so that
    `raw.encode("latin-1")` gives the bytes back.
    """
    kept = raw[:RAW_BYTES_MAX]
    try:
        if len(kept) < len(raw):  # a character that the limit cuts in two is left out
            text = codecs.getincrementaldecoder(encoding)().decode(kept)
        else:
            text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = kept.decode("latin-1")
    return Rejection(row, line, tuple(why), raw=text)
