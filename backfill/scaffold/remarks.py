"""What people should know of files before they send them."""

from collections.abc import Iterator, Sequence

import orjson

from backfill.encoding.column_names import used_up
from backfill.encoding.identity import IDENTIFIER_BYTES_MAX
from backfill.scaffold import names
from backfill.scaffold.attributes import declarable, number_marks
from backfill.scaffold.column_profile import ColumnProfile
from backfill.scaffold.file_profile import FileProfile
from backfill.sources.layout import (
    ATTRIBUTE_NAME_BYTES_MAX,
    ATTRIBUTES_MAX,
    VALUE_BYTES_MAX,
    is_reserved,
)


def remarks_on(look: FileProfile, kind: str, used: Sequence[ColumnProfile]) -> Iterator[str]:
    """What the files hold that is rejected, or not what it seems.

    Args:
        look: The files.
        kind: Their kind.
        used: The columns that say who, what and when.
    """
    yield from _written(look)
    yield from _limits(look, kind, used)
    if kind in ("deletions", "merges"):
        return
    gone = {name for each in used for name in (each.name, *used_up(each.name, ()))}
    columns = [each for each in declarable(look) if each.name not in gone]
    reserved = [each.name for each in columns if is_reserved(each.name, kind)]
    if reserved:
        yield f"the service acts on {', '.join(reserved)}: `reserved` decides what happens to them"
    nested = [each for each in columns if each.is_nested and look.format != "csv"]
    if look.rows == 1 and nested and any(each.startswith("[{") for each in nested[0].examples):
        name = nested[0].name
        yield f"the rows seem to be inside {name}: take them out, as jq -c '.{name}[]' does"
    if nested:
        shown = "; ".join(f"{each.name} is nested{_inside(each)}" for each in nested)
        yield (
            f"{shown}: sent as it is; {nested[0].name}.MEMBER would name what is in it, and a"
            " transform can take it apart"
        )


def _written(look: FileProfile) -> Iterator[str]:
    """What the files do not say as they should."""
    if look.query is not None and "order by" not in look.query.sql.lower():
        yield (
            "the query has no ORDER BY: where the order differs from one time to the next, the same"
            " rows look like other ones, and a run that has ended refuses them"
        )
    if look.written.header:
        yield "the first line looks like data: no column has a name but those that `header` gives"
    if look.malformed:
        shapes = ", ".join(f"{code} {count:,}" for code, count in look.malformed.items())
        yield f"rows that cannot be split into cells are rejected: {shapes}"
    if any(not look.is_readable(each) for each in look.columns):
        yield (
            "the names of columns beyond ASCII depend on the encoding: these columns are not"
            " declared; once you know it, run init again with --encoding"
        )
    yield from _doubtful_numbers(look)
    for each in look.columns.values():
        if each.exponents and names.says_text(each.name):
            yield (
                f"{each.name} holds numbers with an exponent, such as {each.examples[0]}: a"
                " spreadsheet has dropped their other digits; export it anew as text"
            )


def _doubtful_numbers(look: FileProfile) -> Iterator[str]:
    """Numbers that are others by another decimal mark."""
    marks = number_marks(look)
    for each in look.columns.values() if look.format == "csv" else ():
        if (mark := each.doubtful_mark) and not marks.settle(mark):
            yield (
                f"{each.name}: numbers such as {each.examples[0]} are whole with thousands ="
                f' "{mark}", and have decimals with decimal = "{mark}": they are sent as text until'
                ' one of these is set, and the column is declared a "number"'
            )


def _inside(column: ColumnProfile) -> str:
    """The keys of the first object in a column."""
    try:
        first = orjson.loads(column.examples[0]) if column.examples else None
    except orjson.JSONDecodeError:
        first = None
    return f" ({', '.join(first)})" if isinstance(first, dict) else ""


def _limits(look: FileProfile, kind: str, used: Sequence[ColumnProfile]) -> Iterator[str]:
    """What breaks a limit of the Track API."""
    columns = look.columns.values()
    for each in used[:1]:
        bytes_max = IDENTIFIER_BYTES_MAX["email" if each.holds_emails else "id"]
        if each.bytes_max > bytes_max:
            yield f"some {each.name} are longer than {bytes_max} bytes: rejected"
    if kind in ("deletions", "merges"):
        return
    for each in columns:
        if len(each.name.encode()) > ATTRIBUTE_NAME_BYTES_MAX:
            yield f"the name of column {each.name[:20]}… is longer than an attribute's may be"
        if kind != "events" and each.too_long:
            yield (
                f"{each.too_long:,} values of {each.name} are longer than {VALUE_BYTES_MAX} bytes:"
                " these rows are rejected"
            )
    if kind == "customers" and len(columns) > ATTRIBUTES_MAX:
        yield f"{len(columns):,} columns: a person may have {ATTRIBUTES_MAX} attributes"
