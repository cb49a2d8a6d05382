"""Cells of the rejected rows as a spreadsheet may show them: readable, harmless, on one line.

Nothing here has to be undone to send a row again: what the cell was stands in the journal and in
the lossless twin. Only a cell that the user edits is read back.
"""

import re
from collections.abc import Sequence
from typing import Any

import orjson

RAW_SHOWN_CHARS = 1000
"""So much is shown of a row that could not be split into cells."""

# What makes a spreadsheet take a cell for a formula (https://owasp.org/www-community/attacks/
# CSV_Injection), also behind white space, in full-width forms, and behind the semicolon at which
# half of Europe's spreadsheets part cells. There are no exceptions, not even for plain negative
# numbers: a rule without exceptions has no holes.
_TRIGGER = r"('*[\s\ufeff\u200b]*[=+\-@|\uff1d\uff0b\uff0d\uff20\uff5c])"
_DANGEROUS = re.compile(f"(^|;){_TRIGGER}")
# Most cells are of this kind, and are told by one look: no trigger or quote in front, none behind
# a semicolon, nothing to be pictured.
_HARMLESS = re.compile(r"(?:[!-&(-*,.-:<>?A-Z\[-{}~][\x20-\x3a\x3c-\x7e]*)?")
# Of printable cells, which have no white space but blanks, these alone may be dangerous.
_SUSPICIOUS = re.compile("\n[ '=+\\-@|\uff1d\uff0b\uff0d\uff20\uff5c]")
_GUARDED = re.compile(f"(^|;)'{_TRIGGER}")

_PLAIN = {int, float, bool, type(None)}
_TEXT_OR_NULL = {str, type(None)}
_QUOTE, _TWO_QUOTES, _SPECIAL = '"', '""', re.compile('[,"]')

# Control characters are shown as their pictures, so that a row is one line, and no terminal or
# spreadsheet acts on them.
_PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
_FROM_PICTURES = {picture: code for code, picture in _PICTURES.items()}


def cell_text(value: Any) -> str:
    """A cell as the text that a CSV of the same value would hold; null is empty.

    >>> cell_text([1, None, "a"])
    '[1,null,"a"]'
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def shown(value: Any) -> str:
    r"""A cell as it stands in `rejected.csv`: no formula, no control character.

    >>> shown("=1+1"), shown(-12.5), shown("two\nlines")
    ("'=1+1", "'-12.5", 'two␊lines')
    """
    text = value if isinstance(value, str) else cell_text(value)
    if _HARMLESS.fullmatch(text):
        return text
    return _DANGEROUS.sub(r"\1'\2", text.translate(_PICTURES))


def shown_fields(values: Sequence[Any]) -> list[str]:
    r"""A column of cells as they stand in `rejected.csv`, with quotes where CSV needs them.

    >>> shown_fields(["one, two", None, "=1+1"])
    ['"one, two"', '', "'=1+1"]
    """
    try:
        column = "\n".join(values)
        texts = list(values)
    except TypeError:  # not all of them are texts
        types = {*map(type, values)}
        if types <= _PLAIN:
            return _plain_fields(values)
        if types <= _TEXT_OR_NULL:
            texts = ["" if each is None else each for each in values]
        else:
            texts = list(map(cell_text, values))
        column = "\n".join(texts)
    if not _are_harmless(column, len(texts)):
        texts = list(map(shown, texts))
    if "," in column or '"' in column:
        texts = [
            f'"{each.replace(_QUOTE, _TWO_QUOTES)}"' if _SPECIAL.search(each) else each
            for each in texts
        ]
    return texts


def _are_harmless(column: str, count: int) -> bool:
    """Whether `count` cells are told by one look to stand as they are; most columns are.

    Not by one expression for all of a column: that looks at each character by itself.
    """
    is_one_line_each = column.count("\n") == count - 1
    if not is_one_line_each or ";" in column or not column.replace("\n", "").isprintable():
        return False
    return not _SUSPICIOUS.search(f"\n{column}")


def _plain_fields(values: Sequence[Any]) -> list[str]:
    """The same of numbers, truths and nulls: of these, a minus in front alone is dangerous."""
    # All in one go: a call for each takes five times as long. None of them has a comma.
    column = orjson.dumps(values).decode()[1:-1].replace("null", "")
    texts = column.split(",")
    return [f"'{each}" if each[:1] == "-" else each for each in texts] if "-" in column else texts


def shown_raw(raw: str) -> str:
    """The beginning of a row that has no cells, as it stands in `rejected.csv`."""
    return shown(shortened_raw(raw))


def shortened_raw(raw: str) -> str:
    """So much of the text of a row as is shown of it."""
    return raw if len(raw) <= RAW_SHOWN_CHARS else raw[: RAW_SHOWN_CHARS - 1] + "…"


def read_back(text: str) -> str:
    """What a user's cell says: the opposite of `shown`, for strings.

    >>> read_back("'=1+1"), read_back("'quoted'")
    ('=1+1', "'quoted'")
    """
    return _GUARDED.sub(r"\1\2", text).translate(_FROM_PICTURES)
