"""A database of a test's own: what the fixture ``pg`` is."""

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pgstrata.client.database import Database
from pgstrata.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgstrata.domain.state import State
    from pgstrata.testing.session import Session

_SESSIONS = """
select coalesce(nullif(application_name, ''), 'a client'), state, left(query, 200)
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid() and client_addr is not null
"""


class Lease(NamedTuple):
    """An instance that lives as long as this process wants it."""

    instance_id: str
    state_id: str
    dsn: str
    held: "Iterator[Any]"
    """What keeps it, until it is closed."""


class Pg(Database):
    """A server that was cloned from a state, to be ruined."""

    def __init__(self, session: "Session", lease: Lease) -> None:
        super().__init__(lease.dsn)
        self._session = session
        self._lease = lease
        self.lent_at = time.monotonic()
        self.forks: list[Pg] = []
        self.wanted = False
        """Whether it is to be kept."""

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._lease.instance_id

    @property
    def state_id(self) -> str:
        """The id of the state that it was cloned from."""
        return self._lease.state_id

    @property
    def lease(self) -> Lease:
        """What it lives by."""
        return self._lease

    def psql(self, sql: str) -> str:
        """What psql prints for this input. Raises ``ProgramError`` with what went wrong."""
        __tracebackhide__ = True
        out: list[str] = []
        complaints: list[str] = []
        ended = 0
        run = self._session.client.instances.run
        for event in run(self.id, "psql", ("-XqAt", "-v", "ON_ERROR_STOP=1"), stdin=sql):
            if event.type == "stdout":
                out.append(event.data or "")
            elif event.type == "stderr":
                complaints.append(event.data or "")
            elif event.type in ("exit", "error"):
                ended = event.exit_code if event.exit_code is not None else 1
                complaints += [event.error.message] if event.error else []
        if ended:
            raise ProgramError(f"psql ended with {ended}: {''.join(complaints).strip()}")
        return "".join(out)

    def snapshot(self, name: str | None = None) -> "State":
        """Keep what is in it as a state; one without a name is removed when the run ends."""
        return self._session.snapshot(self.id, name)

    def reset(self) -> None:
        """Put it back to its state. Whoever is connected is disconnected; the DSN stays."""
        self._session.client.instances.reset(self.id, force=True)

    def fork(self) -> "Pg":
        """Another database with the same content, removed together with this one."""
        fork = self._session.lend(self.snapshot().state_id)
        self.forks.append(fork)
        return fork

    def keep(self) -> None:
        """Have a copy of it, as it is when the test ends, outlive the run."""
        self.wanted = True

    def sessions(self) -> list[str]:
        """Who is connected, each with its last query; empty if the server does not say."""
        import psycopg

        try:
            with psycopg.connect(self.dsn, connect_timeout=10) as connection:
                rows = connection.execute(_SESSIONS).fetchall()
        except psycopg.Error:
            return []  # the test has ended or closed it, and nobody is connected
        texts = [[_text(value) for value in row] for row in rows]
        return [f"{who} ({state}): {' '.join(query.split())}" for who, state, query in texts]


def _text(value: str | bytes) -> str:
    """A text, of which a database in SQL_ASCII does not know the encoding."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
