"""Gives the file system back what a database's file no longer needs.

Everything here runs in the database's own thread, outside of transactions.
"""

import shutil
from pathlib import Path
from sqlite3 import Connection

from pgstrata.system import faults

SPARE_BYTES = 8 << 20
"""How much unused room the file may keep, and how large the write-ahead log may be, for ever."""

_VACUUM_PAGES = 1000
"""How many pages are given back at once; others wait meanwhile."""


def _pragma(connection: Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def can_shrink(connection: Connection) -> bool:
    """Whether the file can, without being rebuilt."""
    return _pragma(connection, "auto_vacuum") != 0


def give_back_pages(connection: Connection) -> bool:
    """Give some unused pages back. Returns whether there are more."""
    spare = SPARE_BYTES // _pragma(connection, "page_size")
    pages = min(_pragma(connection, "freelist_count") - spare, _VACUUM_PAGES)
    if pages <= 0:
        return False
    with faults.step("database.vacuum"):
        # Each row that is fetched gives one page back.
        connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    return True


def rebuild(path: Path, connection: Connection) -> bool:
    """Rebuild the file so that it can shrink. Returns False if the disk has no room for that."""
    size = _pragma(connection, "page_count") * _pragma(connection, "page_size")
    # The new content is in a temporary file first, then in the log, then in the file.
    if shutil.disk_usage(path.parent).free < 3 * size:
        return False
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with faults.step("database.vacuum"):
        connection.execute("VACUUM")
    return True


def shrink_files(path: Path, shrunk: bool, connection: Connection) -> None:
    """Have the file, and a log that has become large, take less on the disk."""
    # What was given back is still in the file until the log is copied into it.
    if shrunk or path.with_name(path.name + "-wal").stat().st_size > SPARE_BYTES:
        with faults.step("database.checkpoint"):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
