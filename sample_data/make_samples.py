"""Makes the files beside it: `python make_samples.py [FOLDER]`.

Everything in them is invented, and the same on every machine. A shop's customers, its visitors'
activity, its orders and its support tickets, with the ugly rows that real exports have. Each ugly
row says which reasons it is rejected for; `expected_rejections.json` adds them up.
"""

import csv
import gzip
import io
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

Row = TypeVar("Row")

PEOPLE = 560
EVENTS_A_YEAR = 1000
ORDERS = 700
TICKETS = 300
YEARS = (2022, 2023, 2024)

FIRST_NAMES = "Ada Björn Chloé Dana Emre Farah Grzegorz Hana Iris João Kofi Lena Mina Nils Olga Pau"
LAST_NAMES = "Adeyemi Berg Castro Dvořák Eze Fischer Goto Haddad Ito Jensen Kaya Łuczak Moore Nuñez"
NOTES = (
    "",
    "",
    "",
    "",
    "prefers e-mail, not phone",
    'calls herself "the boss"',
    "first line\nsecond line",
    "likes 🧶 and ☕",
    "N/A",
)
PLANS = ("free", "free", "basic", "premium")
ACTIVITIES = ("signed_in", "product_viewed", "product_viewed", "cart_updated", "newsletter_opened")
PAGES = ("/", "/wool", "/needles", "/patterns/winter?size=M", "/sale")
TAGS = ("returning", "mobile-app", "gift", "b2b")
SUBJECTS = ("Where is my parcel?", "Wrong colour", "Invoice, please", "Größe 40 statt 38")

CUSTOMER_COLUMNS = ("customer_id", "email", "name", "signed_up", "age", "vip", "plan", "notes")
ORDER_COLUMNS = (
    "order_id",
    "customer_id",
    "ordered_at",
    "amount",
    "currency",
    "status",
    "items",
)
ACTIVITY_SCHEMA = pa.schema(
    {
        "customer_id": pa.string(),
        "event": pa.dictionary(pa.int32(), pa.string()),
        "occurred_at": pa.timestamp("us", tz="UTC"),
        "page": pa.string(),
        "seconds": pa.float64(),
        "tags": pa.list_(pa.string()),
    }
)


class Samples:
    """Makes the files of one folder; counts the reasons that rows will be rejected for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = random.Random(2022)
        self.expected: Counter[str] = Counter()
        (folder / "events").mkdir(parents=True, exist_ok=True)

    def make(self) -> None:
        """Write every file."""
        self._customers()
        for year in YEARS:
            self._activity(year)
        self._orders()
        self._tickets()
        text = json.dumps(dict(sorted(self.expected.items())), indent=2)
        (self.folder / "expected_rejections.json").write_text(text + "\n")

    # -- customers: quoted commas, quotes and newlines, leading zeros, local American times

    def _customers(self) -> None:
        people = [self._person(number) for number in range(1, PEOPLE + 1)]
        share = PEOPLE // len(YEARS) + 1
        for place, year in enumerate(YEARS):
            lines = [_csv_line(each) for each in people[place * share : (place + 1) * share]]
            if year == YEARS[-1]:
                lines += [_csv_line(self._changed(people[at])) for at in range(3, 180, 10)]
            self._mix(lines, self._ugly_customers(year))
            content = _csv_line(CUSTOMER_COLUMNS) + b"".join(lines)
            if year == YEARS[-1]:
                self._write(f"customers-{year}.csv.gz", gzip.compress(content, mtime=0))
            else:
                self._write(f"customers-{year}.csv", content)

    def _person(self, number: int) -> list[str]:
        first, last = self._pick(FIRST_NAMES.split()), self._pick(LAST_NAMES.split())
        year = YEARS[(number - 1) * len(YEARS) // PEOPLE]
        # Between 08:00 and 20:00 no clock is ever changed.
        signed_up = self._moment(year).replace(hour=8 + number % 12)
        return [
            _id(number),
            f"person{number}@{self._pick(('example.com', 'example.org', 'example.net'))}",
            f"{first} {last}" if number % 9 else f"{last}, {first}",
            signed_up.strftime("%m/%d/%Y %H:%M"),
            str(18 + number * 7 % 60) if number % 5 else "",
            self._pick(("true", "false", "yes", "no", "")),
            self._pick(PLANS),
            self._pick(NOTES),
        ]

    def _changed(self, person: Sequence[str]) -> list[str]:
        """A later row of the same person, which says only what is new: they become one."""
        return [person[0], person[1], "", "", "", "", "premium", "upgraded"]

    def _ugly_customers(self, year: int) -> list[bytes]:
        if year == YEARS[0]:
            return [
                self._ugly_customer("timestamp_unreadable", signed_up="31/12/2022 10:00"),
                self._ugly_customer("required_missing", email=""),
                self._ugly(b"000901,person901@example.com,Ines Moore\n", "too_few_fields"),
                self._ugly_customer("not_an_integer", "not_a_boolean", age="abc", vip="maybe"),
            ]
        if year == YEARS[1]:
            return [
                self._ugly_customer("timestamp_nonexistent", signed_up="03/12/2023 02:30"),
                self._ugly_customer("timestamp_ambiguous", signed_up="11/05/2023 01:30"),
                self._ugly(
                    b'000902,person902@example.com,"Ann "the boss" Lee",02/01/2023 10:00,,,free,\n',
                    "quote_out_of_place",
                ),
                self._ugly(
                    b"000903,person903@example.com,Ren\xe9e Berg,02/02/2023 10:00,,,free,\n",
                    "invalid_utf8",
                ),
                self._ugly_customer("identifier_missing", customer_id=""),
            ]
        return [
            self._ugly(
                b"000904,person904@example.com,Berg, Nils,02/03/2024 10:00,,,free,\n",
                "too_many_fields",
            ),
            self._ugly(
                b'000905,person905@example.com,"Olga Eze,02/04/2024 10:00,,,free,\n',
                "unclosed_quote",
            ),
            self._ugly_customer(
                "timestamp_unreadable", signed_up="soon", notes='=HYPERLINK("http://example.com")'
            ),
        ]

    def _ugly_customer(self, *reasons: str, **cells: str) -> bytes:
        number = 910 + sum(self.expected.values())
        person = dict(zip(CUSTOMER_COLUMNS, self._person(number % PEOPLE), strict=True))
        person |= {"customer_id": _id(number), "email": f"person{number}@example.com"}
        return self._ugly(_csv_line((person | cells).values()), *reasons)

    # -- activity: typed columns, instants with a zone, lists, rows that stand twice

    def _activity(self, year: int) -> None:
        rows: list[dict[str, Any]] = [self._visit(year) for _ in range(EVENTS_A_YEAR - 4)]
        rows += [dict(rows[at]) for at in (10, 20, 30)]
        self._mix(rows, self._ugly_visits(year))
        table = pa.Table.from_pylist(rows, ACTIVITY_SCHEMA)
        pq.write_table(table, self.folder / "events" / f"{year}.parquet", compression="zstd")

    def _visit(self, year: int) -> dict[str, Any]:
        return {
            "customer_id": self._someone(),
            "event": self._pick(ACTIVITIES),
            "occurred_at": self._moment(year),
            "page": self._pick((*PAGES, None)),
            "seconds": round(self.random.random() * 300, 1),
            "tags": [tag for tag in TAGS if self.random.randrange(4) == 0],
        }

    def _ugly_visits(self, year: int) -> list[dict[str, Any]]:
        visit = self._visit(year)
        if year == YEARS[0]:
            return [self._ugly(visit | {"customer_id": None}, "identifier_missing")]
        if year == YEARS[1]:
            return [
                self._ugly(visit | {"occurred_at": None}, "timestamp_missing"),
                self._ugly(
                    visit | {"event": "product_" + "very_" * 20 + "much_viewed"}, "name_too_long"
                ),
            ]
        return [
            self._ugly(
                visit | {"occurred_at": datetime(1970, 1, 1, tzinfo=UTC)}, "timestamp_too_early"
            ),
            self._ugly(visit | {"seconds": float("nan")}, "not_finite"),
        ]

    # -- orders: a key of their own, JSON in a cell, test orders that the transform drops

    def _orders(self) -> None:
        orders = [self._order(number) for number in range(1, ORDERS + 1)]
        lines = list(map(_csv_line, orders))
        lines += [_csv_line(self._order(ORDERS + number, status="test")) for number in range(1, 5)]
        lines.append(_csv_line([*orders[6][:3], "0.00", *orders[6][4:]]))  # one order, twice
        number = ORDERS + 10
        ugly = [
            self._ugly_order(number, "not_a_number", amount="n/a"),
            self._ugly_order(number + 1, "timestamp_unreadable", ordered_at="yesterday"),
            self._ugly_order(number + 2, "unknown_person", customer_id=_id(990)),
            self._ugly_order(number + 3, "unknown_person", customer_id=_id(991)),
            self._ugly_order(number + 4, "not_json", items="[{sku: wool}]"),
            self._ugly_order(number + 5, "key_missing", order_id=""),
        ]
        self._mix(lines, ugly)
        self._write("orders.csv", _csv_line(ORDER_COLUMNS) + b"".join(lines))

    def _order(self, number: int, status: str = "paid") -> list[str]:
        cents = 500 + self.random.randrange(20_000)
        items = [{"sku": f"W-{self.random.randrange(100):03}", "quantity": 1 + number % 3}]
        return [
            f"A{number:05}",
            self._someone(),
            self._moment(YEARS[number % len(YEARS)]).strftime("%Y-%m-%dT%H:%M:%SZ"),
            f"{cents // 100}.{cents % 100:02}",
            self._pick(("EUR", "eur", "USD", "usd ")),
            status,
            json.dumps(items),
        ]

    def _ugly_order(self, number: int, reason: str, **cells: str) -> bytes:
        order = dict(zip(ORDER_COLUMNS, self._order(number), strict=True)) | cells
        return self._ugly(_csv_line(order.values()), reason)

    # -- tickets: JSON Lines with nested values and unix seconds

    def _tickets(self) -> None:
        lines = [_json_line(self._ticket(number)) for number in range(1, TICKETS + 1)]
        without = {k: v for k, v in self._ticket(TICKETS + 1).items() if k != "customer"}
        ugly = [
            self._ugly(_json_line(without), "identifier_missing"),
            self._ugly(b'{"ticket": "T-0302", "customer": "000017", "opened":\n', "invalid_json"),
            self._ugly(b'["T-0303", "000018"]\n', "not_an_object"),
            self._ugly(
                b'{"ticket": "T-0304", "customer": "000019", "customer": "000020"}\n',
                "duplicate_key",
            ),
        ]
        self._mix(lines, ugly)
        self._write("tickets.jsonl.gz", gzip.compress(b"".join(lines), mtime=0))

    def _ticket(self, number: int) -> dict[str, Any]:
        return {
            "ticket": f"T-{number:04}",
            "customer": self._someone(),
            "opened": int(self._moment(YEARS[number % len(YEARS)]).timestamp()),
            "subject": self._pick(SUBJECTS),
            "priority": 1 + number % 4,
            "channel": {"kind": self._pick(("mail", "chat")), "agent": number % 7},
        }

    # -- chance, always the same

    def _pick(self, choices: Sequence[Any]) -> Any:
        return choices[self.random.randrange(len(choices))]

    def _someone(self) -> str:
        """Some people do a lot, most do little."""
        return _id(1 + int(PEOPLE * self.random.random() ** 2))

    def _moment(self, year: int) -> datetime:
        start = datetime(year, 1, 1, tzinfo=UTC)
        return start + timedelta(seconds=self.random.randrange(365 * 86_400))

    def _ugly(self, row: Row, *reasons: str) -> Row:
        self.expected.update(reasons)
        return row

    def _mix(self, rows: list[Any], ugly: Iterable[Any]) -> None:
        for row in ugly:
            rows.insert(self.random.randrange(len(rows)), row)

    def _write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)


def _id(number: int) -> str:
    return f"{number:06}"


def _csv_line(cells: Iterable[str]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def _json_line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


if __name__ == "__main__":
    Samples(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent).make()
