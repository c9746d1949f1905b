"""The dbms port: what PostgreSQL needs around a snapshot, and what can be asked of a server."""

from pathlib import Path
from typing import Protocol

from pgstrata.domain.instance import Server


class Dbms(Protocol):
    """Knows what a data directory must be like, and how to ask a running server."""

    async def defect(self, data_dir: Path) -> str | None:
        """Why a data directory at rest cannot be used as a state (for people), or None if it can.

        Looked at: it is there, ``PG_VERSION`` is there and not empty, no ``postmaster.pid`` is
        left, and the control file says that the cluster was shut down cleanly.
        """

    async def check_snapshot(self, data_dir: Path) -> None:
        """Raise ``StateUnusableError`` when a copy of ``data_dir`` would not be all of the cluster.

        That is so when a tablespace lies outside it; the error names the tablespace's location.
        """

    async def connections(self, server: Server) -> int:
        """How many clients are connected to the server, not counting the one that asks.

        Raises ``ServerError`` when the server cannot be asked.
        """
