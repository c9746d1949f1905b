"""Stores' databases as earlier versions of the schema left them, as SQL text.

Before migration N + 1 is added, what version N writes is kept, with something in each table:
``python -m tests.old_stores STORE/pgstrata.db > tests/unit/sqlite/schemas/version-N.sql``.
"""

import re
import sqlite3
import sys
from pathlib import Path

DIRECTORY = Path(__file__).parent / "unit" / "sqlite" / "schemas"


def versions() -> dict[int, Path]:
    """Each version that is kept, with its file."""
    return {int(path.stem.removeprefix("version-")): path for path in DIRECTORY.glob("*.sql")}


def make(version: int, path: Path) -> None:
    """Make the database that version left."""
    connection = sqlite3.connect(path)
    connection.executescript(versions()[version].read_text())
    connection.close()


def _dump(path: Path) -> str:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    lines = [_readable(line) for line in connection.iterdump()]
    connection.close()
    return "\n".join((f"PRAGMA user_version = {version};", *lines, ""))


def _readable(statement: str) -> str:
    return re.sub(r"X'([0-9A-Fa-f]+)'", _as_text, statement)


def _as_text(blob: re.Match[str]) -> str:
    text = bytes.fromhex(blob.group(1)).decode().replace("'", "''")
    return f"CAST('{text}' AS BLOB)"


if __name__ == "__main__":
    print(_dump(Path(sys.argv[1])), end="")
