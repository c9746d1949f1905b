"""Runs exactly one changeset of a changelog against a server, as ``update`` would."""

import itertools
from typing import Any, NamedTuple

from pgstrata.domain.instance import Endpoint
from pgstrata.kinds.liquibase.changelog import Changelog, Key, entered, scope_values
from pgstrata.kinds.liquibase.jvm import Java

_numbers = itertools.count()


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
        name = f"pgstrata-{next(_numbers)}"
        return f"{self.endpoint.jdbc_url}?ApplicationName={name}"


class Link:
    """A connection to a server with all that Liquibase knows about it, kept between changesets.

    In Liquibase's memory the lock is held from the first changeset on; in the database it is held
    only while one runs, so that no state is locked.
    """

    def __init__(self, java: Java, changelog: Changelog, target: Target) -> None:
        """Connect."""
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
        self._around = scope_values(
            java, {"resourceAccessor": changelog.accessor, "database": self._database}
        )
        self._begun: _Begun | None = None

    def run(self, key: Key | None, *, first: bool) -> None:
        """Run one changeset under Liquibase's lock, with validation; none if there is no key.

        ``first``: whether it is the first of its recipe, which checks the preconditions of the
        changelog as a whole. Raises Java's exceptions; the link is unusable after one.
        """
        with entered(self._java, self._around):
            begun = self._begun
            if begun is None:
                begun = self._begun = self._begin()
            else:
                begun.lock.take_again()
            alone = _Alone(self._java, self._changelog, first=True) if first else begun.alone
            alone.hold(key)
            alone.changelog.validate(
                self._database, self._changelog.contexts, self._changelog.labels
            )
            alone.iterator.run(begun.visitor, begun.environment)
            # After a failure before this, the server is thrown away with its lock.
            begun.lock.release()

    def ask(self, query: str) -> str | None:
        """The first value of a query, in a fresh session; None before a changeset has run."""
        return None if self._begun is None else self._begun.lock.ask(query)

    def close(self) -> None:
        """Disconnect, and make Liquibase forget the database, which it keeps in singletons."""
        java = self._java
        self._histories().resetAll()
        java("liquibase.lockservice.LockServiceFactory").getInstance().resetAll()
        executors = java("java.lang.Class").forName("liquibase.executor.ExecutorService")
        java("liquibase.Scope").getCurrentScope().getSingleton(executors).reset()
        # Liquibase's own close queries the server first, and warns if it is gone, as it usually is.
        self._database.getConnection().getUnderlyingConnection().close()

    def _begin(self) -> "_Begun":
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
            lock=_Lock(java, database),
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

    def __init__(self, java: Java, database: Any) -> None:
        self._java = java
        self._connection = database.getConnection().getUnderlyingConnection()
        self._statement = self._connection.createStatement()
        # Liquibase sets its search path at the start of a session.
        path = self.ask("select pg_catalog.current_setting('search_path')")
        taking = self._sql("LockDatabaseChangeLogStatement", database)
        self._taking = f"{taking}; SET search_path TO {path}"
        self._releasing = self._sql("UnlockDatabaseChangeLogStatement", database)

    def take_again(self) -> None:
        """Take it again."""
        self._statement.execute(self._taking)
        self._connection.setAutoCommit(False)

    def release(self) -> None:
        """Release it, and reset the session, so that nothing reaches the next changeset."""
        self._connection.setAutoCommit(True)
        self._statement.execute(self._releasing)
        self._statement.execute("DISCARD ALL")

    def ask(self, query: str) -> str:
        """The first value of a query."""
        rows = self._statement.executeQuery(query)
        rows.next()
        return str(rows.getString(1))

    def _sql(self, name: str, database: Any) -> str:
        statement = self._java(f"liquibase.statement.core.{name}")()
        generators = self._java("liquibase.sqlgenerator.SqlGeneratorFactory").getInstance()
        (sql,) = generators.generateSql(statement, database)
        return str(sql.toSql())
