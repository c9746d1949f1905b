"""``diff``: compare two states or instances."""

from typing import TYPE_CHECKING

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.text import one_line, printable, table
from pgstrata.errors import InvalidArgumentError, NotComparedError, PgstrataError
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgstrata.domain.comparison import Comparison

ABOUT = """
Compares the schemas of two states or instances, as pg_dump writes them: which objects were added,
removed and changed from A to B, and how. The order in which they were made does not matter, nor do
ids, names and settings of servers. Every database is compared with the one of the same name; roles
and the content of sequences are not. A and B are names, or 8 or more characters of ids.

Exits with 0 if they are alike, 1 if they differ, 3 if they could not be compared.
"""


def run(context: Context, given: Given) -> int:
    """Have them compared, and show how they differ."""
    from pgstrata.domain.comparison import ComparisonRequest

    if len(given.words) != 2:
        raise InvalidArgumentError(
            "diff needs two states or instances", remedy="`pgstrata ls -ns` lists them"
        )
    a, b = given.words
    request = ComparisonRequest(
        a=a, b=b, rows=given.has("--rows"), database=given.last("--database")
    )
    try:
        found = context.engine().compare(request)
    except PgstrataError as error:
        # Whatever the reason is, it must not be taken for a difference.
        raise NotComparedError(
            error.message, remedy=error.remedy, details=error.details, code=error.code
        ) from error
    if context.json:
        print_document(found)
    else:
        print("\n".join(_report(a, b, found)))
    return 1 if found.different else 0


def _report(a: str, b: str, found: "Comparison") -> "Iterator[str]":
    if not found.different:
        yield one_line(f"{a} and {b} are alike")
        return
    for word, names in (
        ("added", found.added),
        ("removed", found.removed),
        ("changed", found.changed),
    ):
        yield from (one_line(f"{word:<8} {name}") for name in names)
    if found.schema:
        yield ""
        yield from map(printable, found.schema.splitlines())
    rows = [row for row in found.rows or () if row.a != row.b]
    if rows:
        if found.schema:
            yield ""
        yield table(
            ("DATABASE", "TABLE", "ROWS IN A", "ROWS IN B"),
            [(row.database, row.table, _number(row.a), _number(row.b)) for row in rows],
        )


def _number(rows: int | None) -> str:
    return "-" if rows is None else str(rows)


COMMAND = Command(
    usage="diff [OPTIONS] A B",
    about=ABOUT,
    options=(
        Option(("--rows",), "also count the rows of every table"),
        Option(("--database",), "compare only the databases with this name", "NAME"),
    ),
    examples=("pgstrata diff seeded dev", "pgstrata diff --rows 3f2a9c1d 77d01b4e"),
    run=run,
)
