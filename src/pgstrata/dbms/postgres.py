"""What PostgreSQL's files say about a cluster at rest, and what its servers say of themselves."""

import asyncio
import struct
from pathlib import Path

from pgstrata.dbms.connection import engine_connection
from pgstrata.domain.instance import Server
from pgstrata.errors import StateUnusableError

_STATE = struct.Struct("=QIIi")
"""The head of ``global/pg_control`` (``ControlFileData`` in PostgreSQL's
src/include/catalog/pg_control.h): system identifier, version of the file's layout, version of the
catalogue, and the state, in the machine's byte order. It has begun like this since 8.1."""

_SHUT_DOWN = 1  # DB_SHUTDOWNED

_STATES = {
    0: "starting up",
    2: "shut down while it was recovering",
    3: "shutting down",
    4: "in crash recovery",
    5: "in archive recovery",
    6: "in production",
}


class Postgres:
    """Reads data directories, and asks running servers."""

    async def defect(self, data_dir: Path) -> str | None:
        # Four looks at files just read or written take less time than telling a thread of them.
        return _defect(data_dir)

    async def check_snapshot(self, data_dir: Path) -> None:
        elsewhere = await asyncio.to_thread(_first_elsewhere, data_dir)
        if elsewhere is not None:
            link, location = elsewhere
            raise StateUnusableError(
                f"{_what_is(link)} is kept in {location}, which every copy would share",
                remedy="keep everything in the default tablespace: a state is one directory",
            )

    async def connections(self, server: Server) -> int:
        async with engine_connection(server) as connection:
            cursor = await connection.execute(
                "select count(*) from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
            row = await cursor.fetchone()
        assert row is not None
        count: int = row[0]
        return count


def _defect(data_dir: Path) -> str | None:
    if not data_dir.is_dir():
        return "there is no data directory"
    try:
        version = (data_dir / "PG_VERSION").read_bytes()
    except FileNotFoundError:
        return "PG_VERSION is missing"
    if not version.strip():
        return "PG_VERSION is empty"
    if (data_dir / "postmaster.pid").exists():
        return "postmaster.pid is left over from a server"
    return _control_defect(data_dir / "global" / "pg_control")


def _control_defect(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(_STATE.size)
    except FileNotFoundError:
        return "the control file is missing"
    if len(head) < _STATE.size:
        return "the control file is cut short"
    state = _STATE.unpack(head)[3]
    if state == _SHUT_DOWN:
        return None
    said = _STATES.get(state, f"in the unknown state {state}")
    return f"the cluster was not shut down cleanly: it is {said}"


def _first_elsewhere(data_dir: Path) -> tuple[Path, Path] | None:
    """The first part of a cluster that is kept elsewhere: the link to it, and where it leads.

    A link that leads back into the data directory counts: it would in every copy, too.
    """
    tablespaces = sorted((data_dir / "pg_tblspc").glob("*"))
    links = (link for link in (data_dir / "pg_wal", *tablespaces) if link.is_symlink())
    return next(((link, link.readlink()) for link in links), None)


def _what_is(link: Path) -> str:
    return "the write-ahead log" if link.name == "pg_wal" else f"tablespace {link.name}"
