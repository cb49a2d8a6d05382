"""Makes the files in `exports/`: `python make_exports.py [FOLDER]`.

The same people again and again, in the shapes that other programs really export. Everything is
invented, and the same on every machine.
"""

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FIRST_NAMES = ("Anaïs", "Björn", "Chloé", "Dörte", "Emre", "Françoise", "Jürgen", "Zoé")
TOWNS = (("01067", "Dresden"), ("8001", "Zürich"), ("1050", "Brüssel"), ("50667", "Köln"))
WARES = (
    ("W-007", "Merino, 50 g", "8.90"),
    ("N-40", "Needles 4.0 mm", "6.50"),
    ("P-3", "Pattern", "4.00"),
)
ACTIONS = ("Signed In", "Report Opened", "Report Exported", "Seat Added")
SHOPIFY_COLUMNS = (
    *("Name", "Email", "Financial Status", "Paid at", "Total"),
    *("Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem sku"),
    *("Shipping Zip", "Created at"),
)
START = datetime(2024, 1, 30, 8, tzinfo=UTC)
NEW_YORK_IN_WINTER = timezone(timedelta(hours=-5))


def make(folder: Path) -> None:
    """Write every file."""
    folder.mkdir(parents=True, exist_ok=True)
    spreadsheet(folder / "kunden.csv")
    postgres(folder / "postgres_payments.csv")
    shopify(folder / "shopify_orders.csv")
    mixpanel(folder / "mixpanel.jsonl")
    lake(folder / "activity")
    users(folder / "users.csv")
    newsletter(folder / "newsletter.csv")
    erasures(folder / "erasure_requests.csv")
    companies(folder / "companies.csv")
    staff(folder / "staff.csv")
    duplicates(folder / "duplicates.csv")


def spreadsheet(path: Path) -> None:
    """A German spreadsheet: semicolons, decimal commas, days first, cp1252, a dash for nothing."""
    rows = [("Kundennummer", "Name", "E-Mail", "Angemeldet", "Umsatz", "PLZ", "Ort", "Newsletter")]
    for number in range(1, 41):
        zip_code, town = _of(TOWNS, number)
        joined = datetime(2019, 1, 1) + timedelta(days=37 * number, minutes=611 + number)  # noqa: DTZ001  # as clocks in Berlin showed it
        revenue = "-" if number % 10 == 0 else f"{number * 73 % 400},{number % 10}0"
        rows.append(
            (
                f"K{number:05}",
                f"{_of(FIRST_NAMES, number)} Müller",
                f"kunde{number}@example.com",
                joined.strftime("%d.%m.%Y %H:%M"),
                revenue,
                zip_code,
                town,
                "ja" if number % 3 else "nein",
            )
        )
    rows.append(
        ("", "Ohne Nummer", "niemand@example.com", "01.02.2023 10:00", "1,00", "", "", "nein")
    )
    path.write_bytes(_csv(rows, delimiter=";", ends="\r\n").encode("cp1252"))


def postgres(path: Path) -> None:
    r"""What COPY … TO … CSV NULL '\N' writes: microseconds, an offset of hours, JSON in a cell."""
    rows = [("id", "user_id", "paid_at", "amount", "refunded_at", "details")]
    for number in range(1, 61):
        paid = START + timedelta(hours=7 * number, microseconds=123_456 + number)
        refunded = paid + timedelta(days=2) if number % 12 == 0 else None
        rows.append(
            (
                str(9_000 + number),
                f"{number % 25:04}",
                paid.strftime("%Y-%m-%d %H:%M:%S.%f+00"),
                f"{number * 3}.{number % 100:02}",
                refunded.strftime("%Y-%m-%d %H:%M:%S.%f+00") if refunded else "\\N",
                json.dumps({"method": _of(("card", "sepa"), number), "attempts": number % 3 + 1}),
            )
        )
    path.write_text(_csv(rows), "utf-8")


def shopify(path: Path) -> None:
    """A row per item; the order's own cells stand in its first row only; ZIP codes with a quote."""
    rows: list[Sequence[str]] = [SHOPIFY_COLUMNS]
    for number in range(1, 25):
        created = (START + timedelta(hours=11 * number)).astimezone(NEW_YORK_IN_WINTER)
        written = created.strftime("%Y-%m-%d %H:%M:%S %z")
        items = [_of(WARES, number + place) for place in range(1 + number % 3)]
        total = sum(float(price) for _, _, price in items)
        for place, (sku, name, price) in enumerate(items):
            first = place == 0
            rows.append(
                (
                    f"#{1000 + number}",
                    f"Kunde{number % 12}@Example.com",
                    "paid" if first else "",
                    written if first else "",
                    f"{total:.2f}" if first else "",
                    str(1 + number % 2),
                    name,
                    price,
                    sku,
                    f"'{_of(TOWNS, number)[0]}" if first else "",
                    written,
                )
            )
    path.write_text(_csv(rows), "utf-8")


def mixpanel(path: Path) -> None:
    """A raw export: one object a line, everything that matters nested in its properties."""
    lines = []
    for number in range(1, 81):
        at = START + timedelta(minutes=97 * number)
        properties: dict[str, Any] = {
            "time": int(at.timestamp()),
            "distinct_id": f"user-{number % 17}",
            "$insert_id": f"{number * 2_654_435_761 % 2**32:08x}",
            "$city": _of(("Köln", "Brussels", "Zürich"), number),
            "$os": _of(("macOS", "Windows", "Linux"), number),
            "mp_lib": "web",
        }
        if number % 4 == 0:
            properties["seats"] = number // 4
        lines.append({"event": _of(ACTIONS, number), "properties": properties})
    lines.append(lines[10])  # sent twice by a browser: the same $insert_id
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines), "utf-8")


def lake(folder: Path) -> None:
    """A table in a data lake: a folder a day, and the day stands in its name only."""
    for day in range(3):
        at = START + timedelta(days=day)
        rows = [
            {
                "user_id": 100 + number % 9,
                "event": _of(("page_viewed", "searched"), number),
                "ts": at + timedelta(minutes=13 * number, milliseconds=number),
                "duration_ms": 40 * number,
                "path": _of(("/", "/wool", "/sale"), number) if number % 5 else None,
            }
            for number in range(1, 31)
        ]
        schema = pa.schema(
            {
                "user_id": pa.int64(),
                "event": pa.dictionary(pa.int8(), pa.string()),
                "ts": pa.timestamp("ms", tz="UTC"),
                "duration_ms": pa.int32(),
                "path": pa.string(),
            }
        )
        part = folder / f"event_date={at:%Y-%m-%d}"
        part.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), part / "part-00000.parquet")


def users(path: Path) -> None:
    """The whole table as it is tonight, beside the days of the lake."""
    rows = [("user_id", "email", "plan", "seats", "created_at")]
    for number in range(9):
        created = START - timedelta(days=100 + number)
        plan = _of(("free", "team", "business"), number)
        email = f"user{number}@example.com"
        rows.append(
            (str(100 + number), email, plan, str(number % 4 + 1), created.strftime("%Y-%m-%dT%XZ"))
        )
    path.write_text(_csv(rows), "utf-8")


def newsletter(path: Path) -> None:
    """A mailing list: nobody has an id, some have subscribed twice, and some have left."""
    rows = [("Email Address", "First Name", "Subscribed On", "Language", "Unsubscribed")]
    for number in range(1, 51):
        since = START - timedelta(days=11 * number)
        rows.append(
            (
                f"leser{number}@example.com",
                _of(FIRST_NAMES, number),
                since.strftime("%b %d, %Y"),
                _of(("de", "fr", "nl"), number),
                "yes" if number % 8 == 0 else "no",
            )
        )
    rows += [("Leser3@Example.com", "", "Jan 29, 2024", "en", "no"), ("no address", "", "", "", "")]
    path.write_text(_csv(rows), "utf-8-sig")


def erasures(path: Path) -> None:
    """Who asked to be forgotten, as the help desk lists it."""
    rows = [("Ticket", "E-mail", "Received")]
    rows += [
        (f"DSR-{number:03}", f"leser{number * 9}@example.com", f"2024-02-{number:02}")
        for number in range(1, 6)
    ]
    path.write_text(_csv(rows), "utf-8")


def companies(path: Path) -> None:
    """The companies that the app's users work for."""
    rows = [("company_id", "name", "industry", "employees", "founded")]
    rows += [
        ("acme", "Acme Wool", "retail", "120", "1998-03-01"),
        ("zeta", "Zeta Knits", "manufacturing", "35", "2011-09-15"),
        ("solo", "Solo Studio", "", "1", "2022-01-10"),
    ]
    path.write_text(_csv(rows), "utf-8")


def staff(path: Path) -> None:
    """Who works where; one stands twice with more to say, and one has never used the app."""
    rows = [("user_id", "company_id", "role", "since")]
    for number in range(9):
        company = _of(("acme", "zeta", "acme"), number)
        role = _of(("admin", "member", "member"), number)
        rows.append((str(100 + number), company, role, f"2023-{number + 1:02}-01"))
    rows += [("102", "solo", "owner", "2022-01-10"), ("108", "acme", "buyer", "")]
    rows += [("999", "zeta", "member", "2023-05-01")]
    path.write_text(_csv(rows), "utf-8")


def duplicates(path: Path) -> None:
    """Two accounts of one person, as support found them."""
    path.write_text(_csv([("keep", "duplicate"), ("103", "106")]), "utf-8")


def _of(choices: Sequence[Any], number: int) -> Any:
    return choices[number % len(choices)]


def _csv(rows: Iterable[Sequence[str]], delimiter: str = ",", ends: str = "\n") -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=ends).writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "exports")
