"""The fixtures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pgstrata.pytest.marks import SCOPED, asked
from pgstrata.pytest.run import (
    ENVIRONMENT,
    FAILED,
    HANDED,
    NEXT,
    in_a_line,
    recipe_in_force,
    session_of,
)

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

    from pgstrata.client.recipes import Recipe
    from pgstrata.client.synchronous import Client
    from pgstrata.testing.pg import Pg


@pytest.fixture(scope="session")
def pgstrata(pytestconfig: pytest.Config) -> "Client":
    """The client of the run's engine."""
    return session_of(pytestconfig).client


@pytest.fixture(scope="session")
def pgstrata_recipe(pytestconfig: pytest.Config) -> "Recipe | None":
    """How databases are made; to be overridden. None for what the ini file says."""
    return None


@pytest.fixture
def pg(request: pytest.FixtureRequest) -> "Iterator[Pg]":
    """A database of the test's own."""
    wanted = asked(request.node)
    if wanted.get("scope") in SCOPED:
        yield request.getfixturevalue(SCOPED[wanted["scope"]])
        return
    state, settings = wanted.get("state"), wanted.get("settings")
    with lent(request, lambda: state_of(request, state), settings) as database:
        yield database


@pytest.fixture(scope="class")
def pg_class(request: pytest.FixtureRequest) -> "Iterator[Pg]":
    """A database for the tests of a class."""
    with lent(request, lambda: state_of(request)) as database:
        yield database


@pytest.fixture(scope="module")
def pg_module(request: pytest.FixtureRequest) -> "Iterator[Pg]":
    """A database for the tests of a module."""
    with lent(request, lambda: state_of(request)) as database:
        yield database


@pytest.fixture(scope="session")
def pg_session(request: pytest.FixtureRequest) -> "Iterator[Pg]":
    """A database for the whole run; that of the variables, if there are any."""
    known = request.config.stash.get(ENVIRONMENT, None)
    if known is not None:
        yield known
        return
    with lent(request, lambda: state_of(request)) as database:
        yield database


@pytest.fixture
def pg_dsn(pg: "Pg") -> str:
    """The DSN of the test's database."""
    return pg.dsn


@pytest.fixture
def pg_connection(pg: "Pg") -> "Iterator[Connection[TupleRow]]":
    """A connection of psycopg to the test's database; it is rolled back and closed."""
    connection = pg.connect()
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def pg_engine(pg: "Pg") -> Iterator[Any]:
    """An engine of SQLAlchemy for the test's database."""
    engine = needed("sqlalchemy").create_engine(pg.url("psycopg"))
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def pg_async_engine(pg: "Pg") -> Any:
    """The same for asyncio, without a pool, so that it belongs to no event loop."""
    create = needed("sqlalchemy.ext.asyncio").create_async_engine
    return create(pg.url("psycopg"), poolclass=needed("sqlalchemy.pool").NullPool)


def needed(module: str) -> Any:
    """A module of SQLAlchemy's. Fails in a line without it: only some fixtures need it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise pytest.fail.Exception(
            f"this fixture needs SQLAlchemy, and there is no {error.name}: "
            "pip install 'sqlalchemy[asyncio]'",
            pytrace=False,
        ) from None


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """Fail without a traceback if a database cannot be made; what a tool said is told once."""
    from pgstrata.errors import PgstrataError

    try:
        yield
    except PgstrataError as error:
        told = f"the database cannot be made: {in_a_line(error)}"
        raise pytest.fail.Exception(told, pytrace=False) from None


@contextmanager
def lent(
    request: pytest.FixtureRequest,
    find_state: Callable[[], str],
    settings: dict[str, str] | None = None,
) -> "Iterator[Pg]":
    """A database for what asks for it, of the state with the id that is found."""
    with told_in_a_line():
        session = session_of(request.config)
        state_id = find_state()
        database = session.lend(state_id, settings)
    if _is_wanted_again(request):
        session.get_ready(state_id, settings)
    yield database
    test = request.node.nodeid or "the run"
    if database.wanted or _is_kept(request):
        session.keep(database, test)
    how: Literal["error", "warn", "ignore"] = request.config.getini("pgstrata_leaks")
    leaks = session.leaks(database) if how == "error" else []
    session.take_back(database, test=test if how == "warn" else None)
    if leaks:
        pytest.fail("sessions were left open:\n" + "\n".join(leaks), pytrace=False)


def state_of(request: pytest.FixtureRequest, fixture: str | None = None) -> str:
    """The id of the state that a fixture has; without one, of the recipe that is in force.

    Raises ``PgstrataError``.
    """
    from pgstrata.errors import PgstrataError

    if fixture is not None:
        known: str = request.getfixturevalue(fixture)
        return known
    session = session_of(request.config)
    recipe = request.getfixturevalue("pgstrata_recipe")
    if recipe is not None:
        return session.build(recipe)
    handed = getattr(request.config, "workerinput", {})
    if HANDED in handed:
        state_id: str = handed[HANDED]
        return state_id
    if f"{HANDED}_error" in handed:
        message, remedy = handed[f"{HANDED}_error"]
        raise PgstrataError(message, remedy=remedy)
    return session.build(recipe_in_force(request.config, session.client))


def _is_wanted_again(request: pytest.FixtureRequest) -> bool:
    """Whether the next test asks for the same fixture, in the same way."""
    if request.scope != "function":
        return False
    following = request.node.stash.get(NEXT, None)
    if request.fixturename not in getattr(following, "fixturenames", ()):
        return False
    ours, theirs = asked(request.node), asked(following)
    return all(ours.get(word) == theirs.get(word) for word in ("state", "settings", "scope"))


def _is_kept(request: pytest.FixtureRequest) -> bool:
    how: bool | str | None = asked(request.node).get("keep")
    if how is None:
        how = request.config.getoption("--pgstrata-keep") or request.config.getini("pgstrata_keep")
    return how in (True, "all") or (how == "failed" and request.node.stash.get(FAILED, False))
