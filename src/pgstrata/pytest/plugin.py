"""The plugin: options, hooks and fixtures. What takes time is imported when it is first used."""

import os
import statistics
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

    from pgstrata.client.recipes import Recipe
    from pgstrata.client.synchronous import Client
    from pgstrata.pytest.pg import Pg
    from pgstrata.pytest.session import Notes, Session

_SESSION: "pytest.StashKey[Session]" = pytest.StashKey()
_NOTES: "pytest.StashKey[Notes]" = pytest.StashKey()
"""What workers have told."""
_FAILED = pytest.StashKey[bool]()
"""Whether a test failed; of a module, and what else has tests, whether one of them did."""
_MORE = pytest.StashKey[bool]()
"""Whether the test after this one wants another such database."""
_ENVIRONMENT: "pytest.StashKey[Pg]" = pytest.StashKey()

_HANDED = "pgstrata_states"
_SCOPED = {"class": "pg_class", "module": "pg_module", "session": "pg_session"}
_KEEPS = ("failed", "all", "never")
_LEAKS = ("error", "warn", "ignore")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pgstrata", "databases of pgstrata")
    group.addoption(
        "--pgstrata-keep",
        nargs="?",
        const="failed",
        choices=_KEEPS,
        help="keep a copy of the databases of failed tests, or of all",
    )
    group.addoption(
        "--pgstrata-rebuild", action="store_true", help="build the recipe's states again"
    )
    group.addoption("--pgstrata-url", help="the address of an engine that runs elsewhere")
    parser.addini("pgstrata_recipe", "the recipe of `pg`, such as psql -f schema.sql")
    parser.addini("pgstrata_image", "which PostgreSQL, such as postgres:16")
    parser.addini(
        "pgstrata_env",
        "variables for the application, set to the run's database: DATABASE_URL=psycopg",
        type="linelist",
    )
    parser.addini("pgstrata_keep", "as --pgstrata-keep", default="never")
    parser.addini("pgstrata_leaks", "sessions left open: error, warn or ignore", default="warn")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "pgstrata(state=None, scope=None, settings=None, keep=None): which database `pg` is: of "
        "which state (a fixture's name), shared in which scope, with which PostgreSQL settings, "
        "and whether it is kept",
    )
    for name, values in (("pgstrata_keep", _KEEPS), ("pgstrata_leaks", _LEAKS)):
        if config.getini(name) not in values:
            raise pytest.UsageError(f"{name} must be one of {', '.join(values)}")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set the variables for the application, before anything imports it."""
    wanted, known = early_config.getini("pgstrata_env"), early_config.known_args_namespace
    if not wanted or any(getattr(known, name, False) for name in ("help", "version")):
        return
    from pgstrata.errors import PgstrataError

    try:
        session = _session(early_config)
        database = session.lend(session.build(_recipe_of(early_config, session.client)))
        for line in wanted:
            name, _, driver = line.partition("=")
            os.environ[name.strip()] = database.url(driver.strip() or None)
    except PgstrataError as error:
        raise pytest.UsageError(f"pgstrata_env: {error.message}: {error.remedy}") from error
    early_config.stash[_ENVIRONMENT] = database


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Build the recipe once, before the first worker starts, and hand its state to each."""
    config = node.config
    if not config.getini("pgstrata_recipe"):
        return
    from pgstrata.errors import PgstrataError

    session = _session(config)
    try:
        node.workerinput[_HANDED] = session.build(_recipe_of(config, session.client))
    except PgstrataError as error:
        node.workerinput[f"{_HANDED}_error"] = (error.message, error.remedy)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker has to tell."""
    told = getattr(node, "workeroutput", {}).get("pgstrata")
    if told is not None:
        from pgstrata.pytest.session import Notes

        node.config.stash.setdefault(_NOTES, Notes()).add(told)


@pytest.hookimpl(trylast=True)  # fixtures end first
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    ours = config.stash.get(_SESSION, None)
    if ours is None:
        return
    if (database := config.stash.get(_ENVIRONMENT, None)) is not None:
        ours.take_back(database)
    ours.close()
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output["pgstrata"] = vars(ours.notes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, Any, Any]:
    item.stash[_MORE] = _wish(item) == _wish(nextitem)
    return (yield)


def _wish(item: pytest.Item | None) -> object:
    """What `pg` is asked for by a test; something of its own, if it asks for none."""
    if item is None or "pg" not in getattr(item, "fixturenames", ()):
        return object()
    mark = item.get_closest_marker("pgstrata")
    kwargs = {} if mark is None else mark.kwargs
    return [kwargs.get(name) for name in ("state", "settings", "scope")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for node in item.listchain():
            node.stash[_FAILED] = True
    return report


def pytest_report_header(config: pytest.Config) -> str | None:
    words = config.getini("pgstrata_recipe")
    if not words:
        return None
    from pgstrata import __version__

    image = config.getini("pgstrata_image")
    return f"pgstrata: {__version__}, {words}" + (f", {image}" if image else "")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    session, told = config.stash.get(_SESSION, None), config.stash.get(_NOTES, None)
    if session is None and told is None:
        return
    from pgstrata.pytest.session import Notes

    notes = Notes()
    for each in (session and session.notes, told):
        if each is not None:
            notes.add(vars(each))
    write = terminalreporter.write_line
    if not any(vars(notes).values()):
        return
    terminalreporter.section("pgstrata", "-")
    for failure in notes.failures:
        write(failure, red=True)
    for remark in notes.remarks:
        write(remark, yellow=True)
    for state_id, how in notes.states.items():
        write(f"state {state_id[:12]}: {how}")
    for title, lines in (("left open by", notes.leaks), ("kept of", notes.kept)):
        for line in lines:
            write(f"{title} {line}")
    if notes.waits:
        write(f"{len(notes.waits)} databases; waited for each: {_percentiles(notes.waits)}")


def _percentiles(waits: list[float]) -> str:
    cuts = statistics.quantiles(waits, n=20) if len(waits) > 1 else waits * 19
    return f"p50 {cuts[9] * 1000:.1f} ms, p95 {cuts[18] * 1000:.1f} ms"


def _session(config: pytest.Config) -> "Session":
    if (known := config.stash.get(_SESSION, None)) is not None:
        return known
    from pgstrata.client.synchronous import Client
    from pgstrata.pytest.session import Session

    client = Client(
        endpoint=config.known_args_namespace.pgstrata_url,
        image=config.getini("pgstrata_image") or None,
    )
    rebuild = config.known_args_namespace.pgstrata_rebuild
    session = Session(client, rebuild=rebuild and "PYTEST_XDIST_WORKER" not in os.environ)
    config.stash[_SESSION] = session
    return session


def _recipe_of(config: pytest.Config, client: "Client") -> "Recipe":
    """The recipe in the ini file. Raises ``InvalidArgumentError``."""
    from pgstrata.errors import InvalidArgumentError
    from pgstrata.pytest.words import recipe_of

    words = config.getini("pgstrata_recipe")
    if not words:
        raise InvalidArgumentError(
            "there is no recipe for the database",
            remedy="set pgstrata_recipe, such as psql -f schema.sql, or override that fixture",
        )
    return recipe_of(words, client.configuration, config.rootpath)


# Fixtures


@pytest.fixture(scope="session")
def pgstrata(pytestconfig: pytest.Config) -> "Client":
    """The client of the run's engine."""
    return _session(pytestconfig).client


@pytest.fixture(scope="session")
def pgstrata_recipe(pytestconfig: pytest.Config) -> "Recipe | None":
    """How databases are made; to be overridden. None for what the ini file says."""
    return None


@pytest.fixture
def pg(request: pytest.FixtureRequest) -> "Iterator[Pg]":
    """A database of the test's own."""
    mark = request.node.get_closest_marker("pgstrata")
    wanted = {} if mark is None else mark.kwargs
    scope, state = wanted.get("scope"), wanted.get("state")
    if scope in _SCOPED:
        if state is not None or wanted.get("settings"):
            raise pytest.UsageError("pgstrata(scope=…) goes with neither state nor settings")
        yield request.getfixturevalue(_SCOPED[scope])
        return
    if scope not in (None, "function"):
        raise pytest.UsageError(f"pgstrata(scope={scope!r}): it is function, {', '.join(_SCOPED)}")
    yield from lent(request, state, wanted.get("settings"))


@pytest.fixture(scope="class")
def pg_class(request: pytest.FixtureRequest) -> "Iterator[Pg]":
    """A database for the tests of a class."""
    yield from lent(request)


@pytest.fixture(scope="module")
def pg_module(request: pytest.FixtureRequest) -> "Iterator[Pg]":
    """A database for the tests of a module."""
    yield from lent(request)


@pytest.fixture(scope="session")
def pg_session(request: pytest.FixtureRequest) -> "Iterator[Pg]":
    """A database for the whole run; that of the variables, if there are any."""
    known = request.config.stash.get(_ENVIRONMENT, None)
    if known is not None:
        yield known
    else:
        yield from lent(request)


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
    from sqlalchemy import create_engine

    engine = create_engine(pg.url("psycopg"))
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def pg_async_engine(pg: "Pg") -> Any:
    """The same for asyncio, without a pool, so that it belongs to no event loop."""
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    return create_async_engine(pg.url("psycopg"), poolclass=NullPool)


def session_of(request: pytest.FixtureRequest) -> "Session":
    """What lends databases in this process."""
    return _session(request.config)


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """Fail without a traceback if a database cannot be made; what a tool said is told once."""
    from pgstrata.errors import PgstrataError

    try:
        yield
    except PgstrataError as error:
        told = f"the database cannot be made: {error.message}"
        pytest.fail(told if error.remedy is None else f"{told}: {error.remedy}", pytrace=False)


def lent(
    request: pytest.FixtureRequest,
    state: str | None = None,
    settings: dict[str, str] | None = None,
) -> "Iterator[Pg]":
    """A database for what asks for it; ``state``: the name of the fixture with its state."""
    with told_in_a_line():
        session = _session(request.config)
        state_id = state_of(request) if state is None else request.getfixturevalue(state)
        database = session.lend(state_id, settings)
    if request.scope == "function" and request.node.stash.get(_MORE, False):
        session.get_ready()
    yield database
    test = request.node.nodeid or "the run"
    if database.wanted or _is_kept(request):
        session.keep(database, test)
    leaks = _leaks(request, session, database, test)
    session.take_back(database)
    if leaks:
        pytest.fail("sessions were left open:\n" + "\n".join(leaks), pytrace=False)


def state_of(request: pytest.FixtureRequest) -> str:
    """The id of the state of the recipe that is in force. Raises ``PgstrataError``."""
    from pgstrata.errors import PgstrataError

    session = _session(request.config)
    recipe = request.getfixturevalue("pgstrata_recipe")
    if recipe is not None:
        return session.build(recipe)
    handed = getattr(request.config, "workerinput", {})
    if _HANDED in handed:
        state_id: str = handed[_HANDED]
        return state_id
    if f"{_HANDED}_error" in handed:
        message, remedy = handed[f"{_HANDED}_error"]
        raise PgstrataError(message, remedy=remedy)
    return session.build(_recipe_of(request.config, session.client))


def _is_kept(request: pytest.FixtureRequest) -> bool:
    mark = request.node.get_closest_marker("pgstrata")
    how: bool | str | None = None if mark is None else mark.kwargs.get("keep")
    if how is None:
        how = request.config.getoption("--pgstrata-keep") or request.config.getini("pgstrata_keep")
    return how in (True, "all") or (how == "failed" and request.node.stash.get(_FAILED, False))


def _leaks(
    request: pytest.FixtureRequest, session: "Session", database: "Pg", test: str
) -> list[str]:
    """The sessions that are an error; others are noted."""
    how: Literal["error", "warn", "ignore"] = request.config.getini("pgstrata_leaks")
    if how == "error":
        return session.leaks(database)
    if how == "warn":
        session.look_for_leaks(database, test)
    return []
