"""How to connect to an instance, as the libraries for that want to hear it."""

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from pgstrata.errors import InvalidArgumentError

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg.rows import TupleRow

Driver = Literal["psycopg", "psycopg2", "asyncpg", "pg8000", "psycopg_async"]

_DRIVERS = ("psycopg", "psycopg2", "asyncpg", "pg8000", "psycopg_async")


class Database:
    """One database of an instance."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        """``postgresql://…`` with the password."""

    def url(self, driver: Driver | None = None) -> str:
        """The DSN as SQLAlchemy and others take it: ``postgresql+psycopg://…``.

        Raises ``InvalidArgumentError`` for a driver that is unknown.
        """
        if driver is None:
            return self.dsn
        if driver not in _DRIVERS:
            raise InvalidArgumentError(
                f'there is no driver "{driver}"', remedy=f"use one of {', '.join(_DRIVERS)}"
            )
        return self.dsn.replace("postgresql://", f"postgresql+{driver}://", 1)

    @property
    def libpq(self) -> dict[str, str]:
        """The variables by which psql and all of libpq's clients find it."""
        parts = urlsplit(self.dsn)
        return {
            "PGHOST": parts.hostname or "",
            "PGPORT": str(parts.port),
            "PGUSER": unquote(parts.username or ""),
            "PGPASSWORD": unquote(parts.password or ""),
            "PGDATABASE": unquote(parts.path.removeprefix("/")),
        }

    def connect(self, **options: Any) -> "Connection[TupleRow]":
        """Connect with psycopg, which is given ``options``."""
        import psycopg

        return psycopg.connect(self.dsn, **options)

    async def connect_async(self, **options: Any) -> "AsyncConnection[TupleRow]":
        """The same for asyncio."""
        import psycopg

        return await psycopg.AsyncConnection.connect(self.dsn, **options)
