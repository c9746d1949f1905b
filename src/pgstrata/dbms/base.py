"""The dbms port: what PostgreSQL needs around a snapshot, and what can be asked of a server."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pgstrata.domain.instance import Server


class Dbms(Protocol):
    """Knows what a data directory must be like, and how to ask a running server."""

    async def defect(self, data_dir: Path, *, recovers: bool = False) -> str | None:
        """Why a data directory at rest cannot be used as a state (for people), or None if it can.

        Looked at: it is there and the servers' user owns it, ``PG_VERSION`` is there and not
        empty, no ``postmaster.pid`` is left, and the control file says that the cluster was shut
        down cleanly; or, with ``recovers``, that it was in use, so that a server on it recovers
        first.
        """

    async def lost_in_a_crash(self, data_dir: Path) -> str | None:
        """What of the cluster a crash would empty (for people), or None: unlogged relations."""

    async def start_settings(self, data_dir: Path) -> bytes:
        """What stands in the files that a server takes its settings from when it starts."""

    @property
    def flush_query(self) -> str:
        """The query that ``flush`` begins with, for a tool that has a session of a server open.

        It writes out the log of all that was committed before; its first value is text that only
        ``flush`` understands.
        """

    async def flush(self, server: Server, *, flushed: str | None = None) -> None:
        """Have all that was committed in the files, so that a copy recovers to it, and soon.

        ``flushed``: what ``flush_query`` gave a tool after that was committed; None to ask it here.
        Raises ``ServerError``.
        """

    async def drop_replication_slots(self, server: Server, data_dir: Path) -> tuple[str, ...]:
        """Drop every replication slot of the server on a data directory; their names.

        No copy's would ever be read.
        Raises ``ServerError``.
        """

    def hide_server(self, data_dir: Path) -> AbstractContextManager[None]:
        """Hide the traces of a frozen server in its data directory until the end of the block."""

    async def check_snapshot(self, data_dir: Path) -> None:
        """Raise ``StateUnusableError`` when a copy of ``data_dir`` would not be all of the cluster.

        That is so when a tablespace lies outside it; the error names the tablespace's location.
        """

    async def connections(self, server: Server) -> int:
        """How many clients are connected to the server, not counting the one that asks.

        Raises ``ServerError`` when the server cannot be asked.
        """
