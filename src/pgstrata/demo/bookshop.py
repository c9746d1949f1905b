"""The example's data: a bookshop's year, the same every time it is generated."""

import csv
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

SEED = 1871
BOOKS = 120
CUSTOMERS = 400
PURCHASES = 2500

_AUTHORS = 10
_PUBLISHERS = 4
"""As many as ``reference.sql`` puts in."""
_OPENED = date(2024, 1, 1)
_DAYS = 365

_ADJECTIVES = ("Quiet", "Northern", "Borrowed", "Glass", "Winter", "Hidden", "Last", "Amber")
_NOUNS = ("Harbour", "Orchard", "Letters", "Cartographer", "Tide", "Clockmaker", "Garden", "Road")
_FIRST_NAMES = ("Anna", "Ben", "Clara", "David", "Edda", "Finn", "Grace", "Hugo", "Ida", "Jonas")
_LAST_NAMES = ("Abel", "Berg", "Costa", "Dunne", "Eriks", "Falk", "Grant", "Holt", "Ivers", "Jung")
_CITIES = ("Leeds", "Galway", "Utrecht", "Porto", "Bergen", "Ghent", "Cork", "Basel")

Row = Sequence[object]


def generate(directory: Path, seed: int = SEED) -> int:
    """Write the tables as CSV files into an existing directory; how many rows there are."""
    chance = random.Random(seed)  # noqa: S311 - it is the same every time on purpose
    purchases = list(_purchases(chance))
    tables: dict[str, tuple[Row, list[Row]]] = {
        "book": (
            ("book_id", "title", "author_id", "publisher_id", "published", "price"),
            list(_books(chance)),
        ),
        "customer": (("customer_id", "name", "city", "joined"), list(_customers(chance))),
        "purchase": (("purchase_id", "customer_id", "ordered_at"), purchases),
        "purchase_line": (("purchase_id", "book_id", "quantity"), list(_lines(chance))),
    }
    for name, (head, rows) in tables.items():
        _write(directory / f"{name}.csv", head, rows)
    return sum(len(rows) for _, rows in tables.values())


def _books(chance: random.Random) -> Iterator[Row]:
    for number in range(1, BOOKS + 1):
        title = f"The {chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}"
        author, publisher = chance.randint(1, _AUTHORS), chance.randint(1, _PUBLISHERS)
        price = f"{chance.randint(8, 38)}.90"
        yield number, title, author, publisher, chance.randint(1950, 2023), price


def _customers(chance: random.Random) -> Iterator[Row]:
    for number in range(1, CUSTOMERS + 1):
        name = f"{chance.choice(_FIRST_NAMES)} {chance.choice(_LAST_NAMES)}"
        yield number, name, chance.choice(_CITIES), _OPENED - timedelta(days=chance.randint(0, 900))


def _purchases(chance: random.Random) -> Iterator[Row]:
    opened = datetime(_OPENED.year, _OPENED.month, _OPENED.day, 9, tzinfo=UTC)
    for number in range(1, PURCHASES + 1):
        moment = opened + timedelta(days=chance.randrange(_DAYS), minutes=chance.randrange(600))
        yield number, chance.randint(1, CUSTOMERS), moment.isoformat()


def _lines(chance: random.Random) -> Iterator[Row]:
    for number in range(1, PURCHASES + 1):
        # Squaring favours the first books: some sell better than others.
        chosen = {1 + int(BOOKS * chance.random() ** 2) for _ in range(chance.randint(1, 4))}
        for book in sorted(chosen):
            yield number, book, chance.randint(1, 3)


def _write(path: Path, head: Row, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
