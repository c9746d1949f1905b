"""Checks PostgreSQL's files in data directories, and queries its servers."""

import asyncio
import contextlib
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePath
from typing import NamedTuple

from psycopg import sql

from pgstrata.dbms import examination, settling
from pgstrata.dbms.connection import (
    APPLICATION_NAME,
    answer,
    ask,
    bare_connection,
    check_it_answers,
    engine_connection,
    own_options,
)
from pgstrata.dbms.tablespaces import kept_at
from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError, StateUnusableError
from pgstrata.system import faults, planted
from pgstrata.system.planted import PlantedFileError

_STATE = struct.Struct("=QIIi")
"""The head of ``global/pg_control`` (``ControlFileData`` in PostgreSQL's
src/include/catalog/pg_control.h): system identifier, version of the file's layout, version of the
catalogue, and the state, in the machine's byte order. It has started like this since 8.1."""

_SHUT_DOWN = 1  # DB_SHUTDOWNED
_IN_PRODUCTION = 6  # DB_IN_PRODUCTION

_CLIENTS = f"""
select count(*) from pg_stat_activity
where backend_type = 'client backend' and application_name <> '{APPLICATION_NAME}'
"""  # noqa: S608 - a constant of ours

LOCK_SECONDS = 60
"""How long to wait for a lock that a client of the database may have."""

_TABLES = r"""
select nspname::text, relname::text
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where relkind = 'r' and relpersistence <> 't'
    and nspname <> 'information_schema' and nspname not like 'pg\_%'
order by nspname collate "C", relname collate "C"
"""

_INIT_FORK = "_init"

_PID_FILE = "postmaster.pid"
"""What a server writes about itself while it runs."""

_SETTINGS_FILES = ("postgresql.conf", "postgresql.auto.conf")

_SETTINGS_BYTES = 4 << 20
"""More than anybody writes into a file of settings."""

_SMALL_BYTES = 64 << 10
"""More than any other file that is read here has: ``pg_control`` has 8 KiB."""

_STATES = {
    0: "starting up",
    1: "shut down",
    2: "shut down while it was recovering",
    3: "shutting down",
    4: "in crash recovery",
    5: "in archive recovery",
    6: "in production",
}


class Postgres:
    """Reads data directories, and queries running servers."""

    def __init__(self, *, owner: int | None = None) -> None:
        """``owner``: the uid that must own data directories, which is that of the servers."""
        self._owner = owner

    async def defect(self, data_dir: Path, *, recovers: bool = False) -> str | None:
        # Reading a few files that are cached takes less time than handing it to a thread.
        return _defect(data_dir, _IN_PRODUCTION if recovers else _SHUT_DOWN, self._owner)

    async def lost_in_crash(self, data_dir: Path) -> str | None:
        fork = await asyncio.to_thread(_first_init_fork, data_dir)
        if fork is None:
            return None
        return f"unlogged relation {fork.name.removesuffix(_INIT_FORK)} of {fork.parent.name}"

    async def start_settings(self, data_dir: Path) -> bytes:
        return _start_settings(data_dir)

    def is_as_started(self, data_dir: Path, settings: bytes) -> bool:
        try:
            if _start_settings(data_dir) != settings or _first_outside(data_dir) is not None:
                return False
            with _cluster(data_dir) as root:
                return not _names(root, "pg_replslot")
        except StateUnusableError:
            return False

    async def flush(self, server: Server) -> None:
        with faults.step("server.checkpoint"):
            async with bare_connection(server) as connection:
                await answer(server, connection, "checkpoint")

    async def drop_replication_slots(self, server: Server, data_dir: Path) -> tuple[str, ...]:
        # There is rarely one, and reading the directory takes no connection.
        with _cluster(data_dir) as root:
            if not _names(root, "pg_replslot"):
                return ()
        async with engine_connection(server) as connection:
            cursor = await connection.execute("select slot_name::text from pg_replication_slots")
            names = tuple(name for (name,) in await cursor.fetchall())
            for name in names:
                await connection.execute("select pg_drop_replication_slot(%s)", (name,))
        return names

    @contextlib.contextmanager
    def hide_server(self, data_dir: Path) -> Iterator[None]:
        # A server checks its pid file once a minute, but not while it is frozen.
        with _removed(data_dir, _PID_FILE):
            yield

    def forget_server(self, data_dir: Path) -> None:
        with (
            _cluster(data_dir) as root,
            contextlib.suppress(FileNotFoundError),
            faults.step("server.forget"),
        ):
            os.unlink(_PID_FILE, dir_fd=root)

    async def check_snapshot(self, data_dir: Path) -> None:
        # Reading two links' names takes less time than handing it to a thread.
        outside = _first_outside(data_dir)
        if outside is not None:
            link, location = outside
            raise StateUnusableError(
                f"{_describe(link)} is kept in {location}, which all copies would share",
                remedy=(
                    "keep everything in the default tablespace, or let servers have mounts of "
                    "their own: `pgstrata status` says what is missing for the sandbox"
                ),
            )

    def tool_environment(self, server: Server) -> dict[str, str]:
        return {"PGOPTIONS": own_options(server.endpoint.major)}

    async def databases(self, server: Server) -> tuple[str, ...]:
        async with engine_connection(server) as connection:
            cursor = await connection.execute(
                "select datname::text from pg_database"
                ' where datallowconn and not datistemplate order by datname collate "C"'
            )
            return tuple(name for (name,) in await cursor.fetchall())

    async def count_rows(self, server: Server, database: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        async with engine_connection(server, database) as connection:
            await connection.execute(f"set lock_timeout = '{LOCK_SECONDS}s'")
            cursor = await connection.execute(_TABLES)
            for schema, table in await cursor.fetchall():
                # Not of those that inherit from it, which are counted themselves.
                query = sql.SQL("select count(*) from only {}").format(
                    sql.Identifier(schema, table)
                )
                row = await (await connection.execute(query)).fetchone()
                assert row is not None
                counts[f"{schema}.{table}"] = row[0]
        return counts

    @property
    def settling_settings(self) -> Mapping[str, str]:
        return settling.SERVER_SETTINGS

    async def settle(self, server: Server) -> tuple[str, ...]:
        with faults.step("server.settle"):
            return await settling.settle(server)

    async def damage(self, server: Server) -> str | None:
        return await examination.damage(server)

    async def lets_in(self, server: Server) -> bool:
        try:
            await check_it_answers(server)
        except ServerError:
            return False
        return True

    async def connections(self, server: Server) -> int:
        count = await ask(server, _CLIENTS)
        assert count is not None
        return int(count)


def _defect(data_dir: Path, wanted: int, owner: int | None) -> str | None:
    try:
        status = data_dir.lstat()
    except FileNotFoundError:
        return "there is no data directory"
    if not stat.S_ISDIR(status.st_mode):
        return "there is no data directory"
    if owner is not None and status.st_uid != owner:
        return f"the data directory is owned by uid {status.st_uid}, not {owner}"
    try:
        version = planted.read(data_dir, "PG_VERSION", _SMALL_BYTES)
    except FileNotFoundError:
        return "PG_VERSION is missing"
    except PlantedFileError as error:
        return str(error)
    if not version.strip():
        return "PG_VERSION is empty"
    if os.path.lexists(data_dir / _PID_FILE):
        return f"{_PID_FILE} was left behind by a server"
    return _control_defect(data_dir, wanted)


def _control_defect(data_dir: Path, wanted: int) -> str | None:
    try:
        content = planted.read(data_dir, "global/pg_control", _SMALL_BYTES)
    except FileNotFoundError:
        return "the control file is missing"
    except PlantedFileError as error:
        return str(error)
    if len(content) < _STATE.size:
        return "the control file is cut short"
    state = _STATE.unpack_from(content)[3]
    if state == wanted:
        return None
    name = _STATES.get(state, f"in the unknown state {state}")
    if wanted == _IN_PRODUCTION:
        return f"the cluster was not in use: it is {name}"
    return f"the cluster was not shut down cleanly: it is {name}"


def _start_settings(data_dir: Path) -> bytes:
    try:
        found = [planted.read(data_dir, name, _SETTINGS_BYTES) for name in _SETTINGS_FILES]
    except (FileNotFoundError, PlantedFileError) as error:
        raise _tampered_with(error) from error
    return b"".join(found)


def _tampered_with(error: Exception) -> StateUnusableError:
    return StateUnusableError(
        f"the server's own files are not as it makes them: {error}",
        remedy="check what this step does to the server itself",
    )


@contextlib.contextmanager
def _removed(data_dir: Path, name: str) -> Iterator[None]:
    """Remove a small file until the end of the block; it gets its owner and mode back."""
    with planted.open_parent(data_dir, name) as directory:
        try:
            content, status = planted.read_at(directory, name, _SMALL_BYTES)
        except (FileNotFoundError, PlantedFileError) as error:
            raise _tampered_with(error) from error
        with faults.step("server.forget"):
            os.unlink(name, dir_fd=directory)
        try:
            yield
        finally:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(
                name, flags, stat.S_IMODE(status.st_mode) & 0o777, dir_fd=directory
            )
            with os.fdopen(descriptor, "wb") as restored:
                restored.write(content)
                os.fchown(descriptor, status.st_uid, status.st_gid)


def _first_init_fork(data_dir: Path) -> PurePath | None:
    """The file with which an unlogged relation is reset after a crash, if there is one.

    Every unlogged relation has one as soon as it is created, in any database, even in one that
    allows no connections: src/backend/storage/file/reinit.c.
    """
    with _cluster(data_dir) as root:
        kept = [one.kept for one in _tablespaces(root) if one.kept and _is_there(root, one.kept)]
        places = [("base", 1), ("pg_tblspc", 3), *((path, 2) for path in kept)]
        for database in chain.from_iterable(_directories(root, *place) for place in places):
            for name in _names(root, database):
                if name.endswith(_INIT_FORK):
                    return PurePath(database, name)
    return None


def _directories(root: int, directory: str, depth: int) -> Iterator[str]:
    """The directories so many levels below one of the open ``root``, without those behind links."""
    with planted.open_below(root, directory) as opened, os.scandir(opened) as entries:
        found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in found:
        path = f"{directory}/{name}"
        if depth == 1:
            yield path
        else:
            yield from _directories(root, path, depth - 1)


def _first_outside(data_dir: Path) -> tuple[str, str] | None:
    """The first part of a cluster outside its data directory: the link to it, and its target.

    A link back into the data directory counts: in a copy it would still lead to the original. Those
    of tablespaces lead there only in a cell, and to the copy's own.
    """
    with _cluster(data_dir) as root:
        with contextlib.suppress(OSError):  # it is no link
            return "pg_wal", os.readlink("pg_wal", dir_fd=root)
        for one in _tablespaces(root):
            if one.kept is None or not _is_there(root, one.kept):
                return one.name, one.location
    return None


class _Tablespace(NamedTuple):
    """One that is a link."""

    name: str
    location: str
    kept: str | None
    """Where it is in the data directory, if a server in a cell made it."""


def _tablespaces(root: int) -> Iterator[_Tablespace]:
    with planted.open_below(root, "pg_tblspc") as opened:
        for name in sorted(os.listdir(opened)):  # noqa: PTH208
            with contextlib.suppress(OSError):  # it is no link
                location = os.readlink(name, dir_fd=opened)
                yield _Tablespace(name, location, kept_at(location))


def _is_there(root: int, directory: str) -> bool:
    """Whether there is a directory, by a path without links."""
    try:
        with planted.open_below(root, directory):
            return True
    except (FileNotFoundError, PlantedFileError):
        return False


@contextlib.contextmanager
def _cluster(data_dir: Path) -> Iterator[int]:
    """A descriptor of a data directory. What was planted in it is the fault of the step."""
    try:
        with planted.open_directory(data_dir) as root:
            yield root
    except (FileNotFoundError, PlantedFileError) as error:
        raise _tampered_with(error) from error


def _names(root: int, directory: str) -> list[str]:
    with planted.open_below(root, directory) as opened:
        return os.listdir(opened)  # noqa: PTH208


def _describe(link: str) -> str:
    return "the write-ahead log" if link == "pg_wal" else f"tablespace {link}"
