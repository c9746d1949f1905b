"""The plugin: options and hooks. What takes time is imported when it is first used."""

import os
import statistics
from collections.abc import Generator
from typing import Any

import pytest

from pgstrata.pytest.marks import KEEPS, check
from pgstrata.pytest.run import (
    ENVIRONMENT,
    FAILED,
    HANDED,
    NEXT,
    NOTES,
    SESSION,
    in_a_line,
    recipe_in_force,
    session_of,
)

pytest_plugins = ("pgstrata.pytest.fixtures",)

_LEAKS = ("error", "warn", "ignore")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pgstrata", "databases of pgstrata")
    group.addoption(
        "--pgstrata-keep",
        nargs="?",
        const="failed",
        choices=KEEPS,
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
    for name, values in (("pgstrata_keep", KEEPS), ("pgstrata_leaks", _LEAKS)):
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
        session = session_of(early_config)
        database = session.lend(session.build(recipe_in_force(early_config, session.client)))
        for line in wanted:
            name, _, driver = (part.strip() for part in line.partition("="))
            if not name:
                raise pytest.UsageError(f"pgstrata_env: `{line}` names no variable")
            os.environ[name] = database.url(driver or None)
    except PgstrataError as error:
        raise pytest.UsageError(f"pgstrata_env: {in_a_line(error)}") from error
    early_config.stash[ENVIRONMENT] = database


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Build the recipe once, before the first worker starts, and hand its state to each."""
    config = node.config
    if not config.getini("pgstrata_recipe"):
        return
    from pgstrata.errors import PgstrataError

    session = session_of(config)
    try:
        node.workerinput[HANDED] = session.build(recipe_in_force(config, session.client))
    except PgstrataError as error:
        node.workerinput[f"{HANDED}_error"] = (error.message, error.remedy)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker has to tell."""
    told = getattr(node, "workeroutput", {}).get("pgstrata")
    if told is not None:
        from pgstrata.testing.session import Notes

        node.config.stash.setdefault(NOTES, Notes()).add(told)


@pytest.hookimpl(trylast=True)  # fixtures end first
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    ours = config.stash.get(SESSION, None)
    if ours is None:
        return
    if (database := config.stash.get(ENVIRONMENT, None)) is not None:
        ours.take_back(database)
    ours.close()
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output["pgstrata"] = vars(ours.notes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, Any, Any]:
    item.stash[NEXT] = nextitem
    return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    check(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for node in item.listchain():
            node.stash[FAILED] = True
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
    session, told = config.stash.get(SESSION, None), config.stash.get(NOTES, None)
    if session is None and told is None:
        return
    from pgstrata.testing.session import Notes

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
    if len(notes.waits) == 1:
        write(f"1 database; waited for it: {notes.waits[0] * 1000:.1f} ms")
    elif notes.waits:
        cuts = [each * 1000 for each in statistics.quantiles(notes.waits, n=20)]
        waits = f"p50 {cuts[9]:.1f} ms, p95 {cuts[18]:.1f} ms"
        write(f"{len(notes.waits)} databases; waited for each: {waits}")
