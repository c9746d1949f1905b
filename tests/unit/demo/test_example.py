"""The bundled example: whole, readable and the same every time."""

import csv
from pathlib import Path

from pgstrata.demo.bookshop import BOOKS, CUSTOMERS, PURCHASES, generate
from pgstrata.demo.files import SCRIPTS, lay_out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_gives_the_same_data(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for directory, seed in ((first, 1), (second, 1), (third, 2)):
        directory.mkdir()
        generate(directory, seed)
    names = [path.name for path in first.iterdir()]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    assert any((first / name).read_bytes() != (third / name).read_bytes() for name in names)


def test_every_reference_leads_somewhere(tmp_path: Path) -> None:
    generate(tmp_path)
    customers = {row["customer_id"] for row in rows(tmp_path / "customer.csv")}
    books = {row["book_id"] for row in rows(tmp_path / "book.csv")}
    purchases = rows(tmp_path / "purchase.csv")
    lines = rows(tmp_path / "purchase_line.csv")
    assert (len(customers), len(books), len(purchases)) == (CUSTOMERS, BOOKS, PURCHASES)
    assert {row["customer_id"] for row in purchases} <= customers
    assert {row["book_id"] for row in lines} <= books
    assert {row["purchase_id"] for row in lines} == {row["purchase_id"] for row in purchases}


def test_scripts_and_data_are_laid_out_for_anyone_to_read(tmp_path: Path) -> None:
    count = lay_out(tmp_path / "bookshop")
    files = [path for path in (tmp_path / "bookshop").rglob("*") if path.is_file()]
    assert count > 5000
    assert [script for script in SCRIPTS if not (tmp_path / "bookshop" / script).is_file()] == []
    assert [path for path in files if path.stat().st_mode & 0o004 == 0] == []
