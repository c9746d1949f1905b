"""The dbms port: what PostgreSQL needs around a snapshot, and queries to a server."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pgstrata.domain.instance import Server


class Dbms(Protocol):
    """Knows what makes a data directory usable, and how to query a running server."""

    async def defect(self, data_dir: Path, *, recovers: bool = False) -> str | None:
        """Why an unused data directory cannot be used as a state (for people), or None if it can.

        It must exist and be owned by the servers' user, have a ``PG_VERSION`` that is not empty and
        no ``postmaster.pid``, and its control file must say that the cluster was shut down cleanly;
        or, with ``recovers``, that it was in use, so that a server started on it recovers first.
        """

    async def lost_in_crash(self, data_dir: Path) -> str | None:
        """An unlogged relation, which a crash would empty (for people), or None."""

    async def start_settings(self, data_dir: Path) -> bytes:
        """The content of the files from which a server reads its settings when it starts."""

    def is_as_started(self, data_dir: Path, settings: bytes) -> bool:
        """Whether ``start_settings`` are these, ``check_snapshot`` finds nothing, and there is no
        replication slot. May be called in any thread."""

    async def flush(self, server: Server) -> None:
        """Write everything committed to the files, so that a copy has nothing to recover.

        Recovery would not change rows, but what is logged ahead: a sequence would go on some values
        further. Raises ``ServerError``.
        """

    async def drop_replication_slots(self, server: Server, data_dir: Path) -> tuple[str, ...]:
        """Drop every replication slot of the server on a data directory, and return their names.

        No one would ever read from a copy's slot. Raises ``ServerError``.
        """

    def hide_server(self, data_dir: Path) -> AbstractContextManager[None]:
        """Hide a frozen server's traces in its data directory until the end of the block."""

    def forget_server(self, data_dir: Path) -> None:
        """Remove a server's traces from a copy of its data directory, which nobody uses yet."""

    async def check_snapshot(self, data_dir: Path) -> None:
        """Raise ``StateUnusableError`` if a copy of ``data_dir`` would not be the whole cluster.

        That is so if a tablespace is outside of it; the error names the tablespace's location.
        """

    def tool_environment(self, server: Server) -> dict[str, str]:
        """Variables with which a tool of ours gets in, whatever was set for roles or databases."""

    async def databases(self, server: Server) -> tuple[str, ...]:
        """The databases that allow connections and are no templates, by name.

        Raises ``ServerError``.
        """

    async def count_rows(self, server: Server, database: str) -> dict[str, int]:
        """How many rows each ordinary table of a database has, by its schema and name.

        Runs none of the database's own functions. Raises ``ServerError``.
        """

    @property
    def settling_settings(self) -> Mapping[str, str]:
        """With what a server must be started for ``settle``, whatever its cluster says."""

    async def settle(self, server: Server) -> tuple[str, ...]:
        """Vacuum, freeze and analyse every database that can be; what cannot be, for people.

        Changes no row, and lets no code in the databases do so. Raises ``ServerError`` if the
        server lets nobody in.
        """

    async def damage(self, server: Server) -> str | None:
        """What of a server's files cannot be read, or contradicts itself (for people), or None.

        Everything is read. The server is on a copy that is thrown away afterwards. Raises
        ``ServerError`` if it lets nobody in.
        """

    async def lets_in(self, server: Server) -> bool:
        """Whether the server lets the engine into its database, as a superuser."""

    async def connections(self, server: Server) -> int:
        """How many clients are connected to the server, not counting this query.

        Raises ``ServerError`` if the server cannot be queried.
        """
