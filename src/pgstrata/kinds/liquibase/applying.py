"""Runs exactly one changeset of a changelog against a server, as ``update`` would."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pgstrata.domain.instance import Endpoint
from pgstrata.kinds.liquibase.changelog import (
    DEFAULT_SCHEMA,
    Changelog,
    Key,
    entered,
    scope_values,
)
from pgstrata.kinds.liquibase.jvm import Java

_numbers = itertools.count()

_SESSION = """
select pg_catalog.json_build_object(
    'user', current_user,
    'logged in as', session_user,
    'path', pg_catalog.current_setting('search_path'),
    'settings', (select coalesce(pg_catalog.json_object_agg(name, setting), '{}')
                 from pg_catalog.pg_settings where source = 'session'),
    'temporary', (select coalesce(pg_catalog.json_agg(relname), '[]')
                  from pg_catalog.pg_class
                  where relnamespace = pg_catalog.pg_my_temp_schema()
                  and relkind in ('r', 'v', 'S', 'p'))
)"""
"""What a session is like, as far as it can be asked."""

_RAN = """
select coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(filename, id, author)), '[]')
from {} where exectype in ('EXECUTED', 'RERAN')"""

_CACHING = """
select coalesce(pg_catalog.json_object_agg(
    seqrelid::pg_catalog.regclass, pg_catalog.pg_sequence_last_value(seqrelid)
), '{}') from pg_catalog.pg_sequence where seqcache > 1"""
"""The last values of sequences of which a session takes several values at once."""

_PATH = re.compile(r'"(?:[^"]|"")*"|[^\s,"]+')


class LeftBehindError(Exception):
    """A session was left in a state that cannot be had again for the next step."""


class Target(NamedTuple):
    """A server to run a changeset against."""

    endpoint: Endpoint
    handle: str
    """The runtime's: another server may have the same port later."""

    @property
    def url(self) -> str:
        """Its JDBC URL, never the same twice.

        Liquibase remembers which URLs it found up to date.
        """
        return f"{self.endpoint.jdbc_url}?pgstrata={next(_numbers)}"


class Link:
    """A connection to a server with all that Liquibase knows about it, kept between changesets.

    In Liquibase's memory the lock is held from the first changeset on; in the database it is held
    only while one runs, so that no state is locked.
    """

    def __init__(
        self, java: Java, changelog: Changelog, target: Target, *, again: bool = False
    ) -> None:
        """Connect. ``again``: whether the first changeset ran on another link.

        What Liquibase asks a new connection is then what the first was like, whatever has changed.
        """
        self.target = target
        self._java = java
        self._changelog = changelog
        self._database = (
            java("liquibase.database.DatabaseFactory")
            .getInstance()
            .openDatabase(
                target.url,
                target.endpoint.user,
                target.endpoint.password,
                None,
                changelog.accessor,
            )
        )
        self._around = scope_values(java, changelog.scope_values(self._database))
        schema = changelog.recipe.default_schema
        if schema or again:
            self._database.setDefaultSchemaName(schema or DEFAULT_SCHEMA)
        if schema:
            with entered(java, self._around):
                utilities = java("liquibase.database.core.DatabaseUtils")
                utilities.initializeDatabase(None, schema, self._database)
        self._begun: _Begun | None = None

    def run(
        self,
        keys: Sequence[Key],
        *,
        first: bool,
        repeat: Callable[[Sequence[Key]], Sequence[str]] | None,
        followed: bool,
        caching: bool,
    ) -> frozenset[str]:
        """Run changesets under Liquibase's lock, with validation, as if all before had run here.

        ``first``: whether it is the first step of its recipe, which checks the preconditions of
        the changelog as a whole. ``repeat`` returns the statements that set again what the given
        changesets set; None if none sets anything. ``followed``: whether other steps follow.
        ``caching``: whether there may be sequences of which a session takes several values at once.
        Returns the names of temporary tables that are left. Raises ``LeftBehindError`` and Java's
        exceptions; the link is unusable after one.
        """
        with entered(self._java, self._around):
            statements = [] if first or repeat is None else repeat(self._ran())
            begun = self._begun
            if begun is None:
                begun = self._begun = self._begin(statements, caching=caching and not first)
            else:
                begun.lock.take_again(statements)
            alone = _Alone(self._java, self._changelog, first=True) if first else begun.alone
            for number, key in enumerate(keys or (None,)):
                if number:
                    alone = begun.alone
                alone.hold(key)
                alone.changelog.validate(
                    self._database, self._changelog.contexts, self._changelog.labels
                )
                alone.iterator.run(begun.visitor, begun.environment)
            # After a failure before this, the server is thrown away with its lock.
            return begun.lock.release(
                (lambda: () if repeat is None else repeat(self._ran())) if followed else None,
                repeated=bool(statements),
                caching=caching,
            )

    def close(self) -> None:
        """Disconnect, and make Liquibase forget the database, which it keeps in singletons."""
        java = self._java
        self._histories().resetAll()
        java("liquibase.lockservice.LockServiceFactory").getInstance().resetAll()
        executors = java("java.lang.Class").forName("liquibase.executor.ExecutorService")
        java("liquibase.Scope").getCurrentScope().getSingleton(executors).reset()
        # Liquibase's own close queries the server first, and warns if it is gone, as it usually is.
        self._database.getConnection().getUnderlyingConnection().close()

    def _ran(self) -> list[Key]:
        """The changesets that Liquibase's history says were run."""
        database = self._database
        table = database.escapeTableName(
            database.getLiquibaseCatalogName(),
            database.getLiquibaseSchemaName(),
            database.getDatabaseChangeLogTableName(),
        )
        connection = database.getConnection().getUnderlyingConnection()
        query = _RAN.format(table)
        ran = json.loads(_first_value(connection.createStatement(), query))
        return [Key(*parts) for parts in ran]

    def _begin(self, statements: Sequence[str], *, caching: bool) -> "_Begun":
        """Create Liquibase's tables if missing, take its lock and read its history."""
        java, database = self._java, self._database
        self._histories().getChangeLogService(database).init()
        locks = java("liquibase.lockservice.LockServiceFactory").getInstance()
        locks.getLockService(database).waitForLock()
        # Taking the lock made Liquibase forget the history it knew.
        history = self._histories().getChangeLogService(database)
        history.init()
        history.generateDeploymentId()
        return _Begun(
            lock=_Lock(java, database, statements, caching=caching),
            alone=_Alone(java, self._changelog, first=False),
            visitor=self._visitor(),
            environment=self._changelog.environment(database),
        )

    def _visitor(self) -> Any:
        java, visitors = self._java, "liquibase.changelog.visitor"
        return java(f"{visitors}.UpdateVisitor")(
            self._database,
            java(f"{visitors}.DefaultChangeExecListener")(self._no_listeners()),
            java("liquibase.changelog.filter.ShouldRunChangeSetFilter")(self._database),
        )

    def _no_listeners(self) -> Any:
        listener = self._java("java.lang.Class").forName(
            "liquibase.changelog.visitor.ChangeExecListener"
        )
        return self._java("java.lang.reflect.Array").newInstance(listener, 0)

    def _histories(self) -> Any:
        return self._java("liquibase.changelog.ChangeLogHistoryServiceFactory").getInstance()


class _Begun(NamedTuple):
    """What every changeset on one link uses."""

    lock: "_Lock"
    alone: "_Alone"
    visitor: Any
    environment: Any


class _Alone:
    """A changelog with a single changeset, so that only that is validated."""

    def __init__(self, java: Java, whole: Changelog, *, first: bool) -> None:
        """``first``: whether it has the preconditions of the whole changelog."""
        self._whole = whole
        self.changelog = java("liquibase.changelog.DatabaseChangeLog")(whole.recipe.changelog_file)
        self.changelog.setChangeLogParameters(whole.parameters)
        if first:
            self.changelog.setPreconditions(whole.parsed.getPreconditions())
        self._held = self.changelog.getChangeSets()
        self.iterator = java("liquibase.changelog.ChangeLogIterator")(self.changelog, java.list())

    def hold(self, key: Key | None) -> None:
        """Contain this changeset in place of the previous one; none if there is no key."""
        # Py4J's own ``clear`` makes one call for each item, and one too many.
        self._held.removeAll(self._held)
        if key is not None:
            self.changelog.addChangeSet(self._whole.selected[key])


class _Lock:
    """Liquibase's lock in the database, taken with Liquibase's own statements."""

    def __init__(
        self, java: Java, database: Any, statements: Sequence[str], *, caching: bool
    ) -> None:
        """It is taken already; carry out the statements. ``caching``: see ``Link.run``."""
        self._java = java
        self._schema = str(database.getDefaultSchemaName())
        self._connection = database.getConnection().getUnderlyingConnection()
        self._statement = self._connection.createStatement()
        self._statement.setEscapeProcessing(False)
        # Liquibase sets its search path at the start of a session, and the driver sets some more.
        self._start = self._state()
        self._starting = _setting(self._start["settings"])
        self._caching: dict[str, int | None] | None = self._cached() if caching else None
        self._taking = self._sql("LockDatabaseChangeLogStatement", database)
        self._releasing = self._sql("UnlockDatabaseChangeLogStatement", database)
        if statements:
            self._connection.commit()
            self._connection.setAutoCommit(True)
            self._execute(*statements)
            self._connection.setAutoCommit(False)

    def take_again(self, statements: Sequence[str]) -> None:
        """Take it again, in a session like the first, and carry out the statements."""
        self._execute(self._taking, self._starting, *statements)
        self._connection.setAutoCommit(False)

    def release(
        self, repeat: Callable[[], Sequence[str]] | None, *, repeated: bool, caching: bool
    ) -> frozenset[str]:
        """Release it, and reset the session, so that nothing reaches the next changeset.

        ``repeat`` tells what the next step sets again, if there is one; ``repeated``, whether this
        one did. Returns the names of temporary tables that are left. Raises ``LeftBehindError``.
        """
        self._connection.setAutoCommit(True)
        left = self._state() if repeat else self._start
        # As whoever the session acts for, this may not be allowed.
        self._execute("DISCARD ALL")
        self._execute(self._releasing)
        if caching:
            self._check_caches()
        if repeat is not None and (repeated or self._differs(left, self._start)):
            self._execute(self._starting, *repeat())
            again = self._state()
            self._execute("DISCARD ALL")
            if what := self._differs(left, again):
                raise LeftBehindError(what)
        return frozenset(left["temporary"])

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(_first_value(self._statement, _SESSION))
        return state

    def _cached(self) -> dict[str, int | None]:
        found: dict[str, int | None] = json.loads(_first_value(self._statement, _CACHING))
        return found

    def _execute(self, *statements: str) -> None:
        self._statement.execute(";\n".join(statements))

    def _differs(self, one: dict[str, Any], other: dict[str, Any]) -> str | None:
        """What differs between two sessions, apart from what Liquibase itself sets."""
        for who in ("user", "logged in as"):
            if one[who] != other[who]:
                return f"acts as {one[who]}"
        old, new = self._settings(one), self._settings(other)
        names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        return f"sets {', '.join(names)}" if names else None

    def _settings(self, state: dict[str, Any]) -> dict[str, Any]:
        settings = dict(state["settings"])
        settings.pop("search_path", None)
        path = [part.strip('"') for part in _PATH.findall(state["path"])]
        while path and path[0] == self._schema:
            # Liquibase puts it there whenever it is missing.
            del path[0]
        return settings | {"search_path": path}

    def _check_caches(self) -> None:
        """Raise ``LeftBehindError`` if one session would have gone on with values it had taken."""
        before, self._caching = self._caching, self._cached()
        for name, value in self._caching.items():
            if before and before.get(name) not in (None, value):
                raise LeftBehindError(
                    f"takes values of the sequence {name}, of which a session takes several at a "
                    "time (CACHE), as an earlier one did"
                )

    def _sql(self, name: str, database: Any) -> str:
        statement = self._java(f"liquibase.statement.core.{name}")()
        generators = self._java("liquibase.sqlgenerator.SqlGeneratorFactory").getInstance()
        (sql,) = generators.generateSql(statement, database)
        return str(sql.toSql())


def _first_value(statement: Any, query: str) -> str:
    rows = statement.executeQuery(query)
    rows.next()
    return str(rows.getString(1))


def _setting(settings: dict[str, str]) -> str:
    """The statement that sets all of these."""
    pairs = (
        f"pg_catalog.set_config({_literal(name)}, {_literal(value)}, false)"
        for name, value in settings.items()
    )
    return f"select {', '.join(pairs)}"


def _literal(text: str) -> str:
    # Whatever standard_conforming_strings says.
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
