"""Encoding and delimiter of a text file, told from its bytes."""

import codecs

import pytest

from backfill.pipeline.mistakes import TODO
from backfill.sources.detection import (
    MULTI_BYTE,
    SINGLE_BYTE,
    delimiter_of,
    encoding_of,
    text_evidence,
)


def detected(content):
    """The encoding of a file with these bytes."""
    return encoding_of(text_evidence([content])).value


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"a,b\n1,2\n", "utf-8"),
        ("a\nGröße\n".encode(), "utf-8"),
        ("a\nGröße\nGröße\n".encode() + b"Gr\xf6\xdfe\n", "utf-8"),
        ("a\nGröße\n".encode("cp1252"), TODO),
        (b"a\nGr\xf6\xdfe\n\x81\n", TODO),
        ("a\nGröße\n".encode("utf-16"), "utf-16"),
        ("a\nGröße\n".encode("utf-32"), "utf-32"),
        ("a\nGröße\n".encode("utf-16-le"), "utf-16-le"),
        ("a\nGröße\n".encode("utf-16-be"), "utf-16-be"),
        ("a\nGröße\n".encode("utf-32-be"), "utf-32-be"),
        (bytes(64) + b"a\n", "utf-8"),
        (codecs.BOM_UTF8 + b"a\n1\n", "utf-8"),
    ],
)
def test_the_encoding_is_told_from_every_line(content, encoding):
    """A few broken lines are broken; a file of them is in another encoding."""
    assert detected(content) == encoding


def test_an_accent_far_behind_counts_too():
    """It is not the beginning that proves an encoding."""
    assert detected(b"a,b\n" + b"1,2\n" * 500_000 + b"Gr\xf6\xdfe,2\n") == TODO


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("a;b\n1,5;2\n2,5;3\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b|c\n1|2|3\n", "|"),
        ("a^b^c\n1^2^3\n", "^"),
        ("a\x01b\n1\x012\n", "\x01"),
        ('a,b\n"x;y;z",2\n"x;y;z",3\n', ","),
        ("note\nall; is; one\n", ","),
        ("a;b\n1;2;3\n4;5\n6;7\n", ";"),
    ],
)
def test_the_delimiter_is_what_fits_the_header(text, delimiter):
    """Other marks may stand in the cells."""
    assert delimiter_of(text).value == delimiter


def test_a_column_that_is_known_to_be_there_proves_the_delimiter():
    """Commas may stand in every cell of a file that semicolons separate."""
    text = "a,b,c;_source\n1,2,3;x.csv\n"
    assert delimiter_of(text).value == ","
    assert delimiter_of(text, column="_source").value == ";"


def test_a_line_longer_than_a_block_is_looked_at_too():
    """In pieces; memory does not grow with it, and no word in it is tried letter by letter."""
    assert detected(b"a" * 3_000_000 + "é".encode("latin-1") + b"\n") == TODO
    assert detected(b"a" * 3_000_000 + " é".encode("latin-1") + b"\n") == TODO


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Straße in Köln", "cp1252"),
        ("Москва", "cp1251"),
        ("名前,太郎,花子", "cp932"),
        ("Łódź i Kraków", "cp1250"),
        ("Ünlü şehir", "cp1254"),
    ],
)
def test_text_of_eight_bits_is_shown_as_each_encoding_reads_it(text, encoding):
    """Nothing proves one of them; who can read it sees which is right."""
    found = encoding_of(text_evidence([f"id\n{text}\n".encode(encoding)]))
    assert found.value == TODO
    shown = dict(each.split(": ") for each in found.choices)
    assert shown[encoding] in text
    assert set(shown) <= {*SINGLE_BYTE, *MULTI_BYTE}


def test_an_encoding_that_does_not_know_a_byte_is_no_candidate():
    """0x81 is nothing in cp1252, and in UTF-8 it begins nothing."""
    found = encoding_of(text_evidence([b"a\nGr\xf6\xdfe \x81\n"]))
    assert "cp1252" not in [each.partition(":")[0] for each in found.choices]
