"""pytest-postgresql's factories: ``from pgstrata.pytest.compat import factories``.

Each test has a server of its own in place of a database on one server; ``postgresql_proc`` says
where it is.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from pgstrata.pytest.fixtures import lent, told_in_a_line
from pgstrata.pytest.run import session_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection, IsolationLevel
    from psycopg.rows import TupleRow

    from pgstrata.pytest.compat.process import Load, Process

_HERE = (None, "localhost", "127.0.0.1")


def postgresql_proc(
    executable: str | None = None,
    host: str | None = None,
    port: Any = -1,
    user: str | None = None,
    password: str | None = None,
    dbname: str | None = None,
    *,
    options: str = "",
    startparams: str | None = None,
    unixsocketdir: str | None = None,
    postgres_options: str | None = None,
    load: "Sequence[Load] | None" = None,
    load_autocommit: bool | None = None,
    image: str | None = None,
) -> Any:
    """A fixture that says where a server is and what its databases begin with.

    ``image``: which PostgreSQL. Where the server is, and how it is started, is not for tests to
    say. Without a ``password``, and for ``postgres``, it has one that the fixture knows.
    """
    if executable is not None:
        raise pytest.UsageError('pgstrata knows its PostgreSQLs: image="postgres:16"')
    if host not in _HERE or (isinstance(port, int | str) and int(port) > 0):
        raise pytest.UsageError("pgstrata chooses host and port: tests read them of the fixture")

    @pytest.fixture(scope="session")
    def fixture(request: pytest.FixtureRequest) -> "Iterator[Process]":
        from pgstrata.pytest.compat.process import Process, credentials_of, loaded
        from pgstrata.testing.login import server, server_settings

        session = session_of(request.config)
        name, secret = _given(request, user=user), _given(request, password=password)
        credentials = credentials_of(name, secret)
        scripts = _given(request, load=load) or ()
        autocommit = bool(_given(request, load_autocommit=load_autocommit))
        with told_in_a_line():
            process = Process(
                session,
                loaded(session, server(image, name, secret), scripts, credentials, autocommit),
                credentials,
                dbname=_given(request, dbname=dbname) or "tests",
                options=_given(request, options=options) or "",
                settings=server_settings(_given(request, postgres_options=postgres_options) or ""),
            )
        yield process
        process.close()

    return fixture


def postgresql_noproc(
    host: str | None = None,
    port: Any = None,
    user: str | None = None,
    password: str | None = None,
    dbname: str | None = None,
    *,
    maintenance_dbname: str | None = None,
    options: str = "",
    load: "Sequence[Load] | None" = None,
    load_autocommit: bool | None = None,
    depends_on: str | None = None,
) -> Any:
    """The same; with ``depends_on``, its databases begin with what those of that fixture have.

    ``host`` and ``port`` of the server that it stood for are left aside.
    """
    if depends_on is None:
        return postgresql_proc(
            user=user,
            password=password,
            dbname=dbname,
            options=options,
            load=load,
            load_autocommit=load_autocommit,
        )

    @pytest.fixture(scope="session")
    def fixture(request: pytest.FixtureRequest) -> "Iterator[Process]":
        below: Process = request.getfixturevalue(depends_on)
        with told_in_a_line():
            process = below.with_more(
                load or (),
                bool(_given(request, load_autocommit=load_autocommit)),
                dbname=dbname or below.dbname,
                options=options or below.options,
            )
        yield process
        process.close()

    return fixture


def postgresql(
    process_fixture_name: str,
    dbname: str | None = None,
    isolation_level: "IsolationLevel | None" = None,
) -> Any:
    """A fixture with a connection of psycopg to a database of the test's own."""

    @pytest.fixture
    def fixture(request: pytest.FixtureRequest) -> "Iterator[Connection[TupleRow]]":
        import psycopg

        with (
            _own_database(request, process_fixture_name, dbname) as login,
            psycopg.connect(**login) as connection,
        ):
            if isolation_level is not None:
                connection.isolation_level = isolation_level
            try:
                yield connection
            finally:
                connection.close()

    return fixture


def postgresql_async(
    process_fixture_name: str,
    dbname: str | None = None,
    isolation_level: "IsolationLevel | None" = None,
) -> Any:
    """The same for asyncio, in tests that pytest-asyncio or anyio runs."""

    async def fixture(
        request: pytest.FixtureRequest,
    ) -> "AsyncIterator[AsyncConnection[TupleRow]]":
        import psycopg

        with _own_database(request, process_fixture_name, dbname) as login:
            async with await psycopg.AsyncConnection.connect(**login) as connection:
                if isolation_level is not None:
                    await connection.set_isolation_level(isolation_level)
                try:
                    yield connection
                finally:
                    await connection.close()

    with suppress(ModuleNotFoundError):
        return import_module("pytest_asyncio").fixture(fixture)
    return pytest.fixture(fixture)


@contextmanager
def _own_database(
    request: pytest.FixtureRequest, process_fixture_name: str, dbname: str | None
) -> Iterator[dict[str, Any]]:
    """How to connect to a database of the test's own."""
    process: Process = request.getfixturevalue(process_fixture_name)
    name = dbname or process.dbname
    with (
        lent(request, lambda: process.state_with(name), process.settings) as database,
        process.used(database),
    ):
        yield {**process.login(name)._asdict(), "options": process.options}


def _given(request: pytest.FixtureRequest, **argument: Any) -> Any:
    """What a factory was given, or else what pytest-postgresql is told, if it is there."""
    [(name, value)] = argument.items()
    if value is False:
        return False
    known = f"postgresql_{name}"
    with suppress(ValueError):
        value = value or request.config.getoption(known) or request.config.getini(known)
    return value or None
