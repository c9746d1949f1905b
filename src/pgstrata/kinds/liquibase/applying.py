"""Running exactly one changeset of a changelog against a server, as ``update`` would run it."""

import itertools
from typing import Any, NamedTuple

from pgstrata.kinds.liquibase.changelog import Changelog, Key, entered, surroundings
from pgstrata.kinds.liquibase.jvm import Java

_numbers = itertools.count()


class Target(NamedTuple):
    """A server to run a changeset against."""

    started: tuple[int, float]
    """Its process and when that started: another server may have its port later."""
    host: str
    port: int
    database: str
    user: str
    password: str

    @property
    def url(self) -> str:
        """Its address, as JDBC wants it, never the same twice.

        Liquibase remembers which addresses it found up to date.
        """
        name = f"pgstrata-{next(_numbers)}"
        return f"jdbc:postgresql://{self.host}:{self.port}/{self.database}?ApplicationName={name}"


class Link:
    """A connection to a server with all that Liquibase knows of it, kept between changesets.

    In Liquibase's memory the lock is held from the first changeset on; in the database it is held
    only while one runs, so that no state is a locked one.
    """

    def __init__(self, java: Java, changelog: Changelog, target: Target) -> None:
        """Connect."""
        self.target = target
        self._java = java
        self._changelog = changelog
        self._database = (
            java("liquibase.database.DatabaseFactory")
            .getInstance()
            .openDatabase(target.url, target.user, target.password, None, changelog.accessor)
        )
        self._around = surroundings(
            java, {"resourceAccessor": changelog.accessor, "database": self._database}
        )
        self._begun: _Begun | None = None
        self._no_filters = java.list()

    def run(self, key: Key | None, *, first: bool) -> None:
        """Run one changeset under Liquibase's lock, with validation; none if there is no key.

        ``first``: whether it is the first of its recipe, which checks the preconditions of the
        changelog as a whole. Raises Java's exceptions; the link is of no use after one.
        """
        with entered(self._java, self._around):
            begun = self._begun
            if begun is None:
                begun = self._begun = self._begin()
            else:
                begun.lock.take_again()
                # As a new connection is: with the path that Liquibase wants.
                self._database.rollback()
            alone = self._alone(key, first=first)
            alone.validate(self._database, self._changelog.contexts, self._changelog.labels)
            iterator = self._java("liquibase.changelog.ChangeLogIterator")(alone, self._no_filters)
            iterator.run(begun.visitor, begun.environment)
            # Whatever fails before this leaves a server that is thrown away, with its lock.
            begun.lock.release()

    def ask(self, query: str) -> str | None:
        """The first value of a query, in a session like a new one, once a changeset has run."""
        return None if self._begun is None else self._begun.lock.ask(query)

    def close(self) -> None:
        """Disconnect, and let Liquibase forget the database, which it keeps in singletons."""
        java = self._java
        self._histories().resetAll()
        java("liquibase.lockservice.LockServiceFactory").getInstance().resetAll()
        executors = java("java.lang.Class").forName("liquibase.executor.ExecutorService")
        java("liquibase.Scope").getCurrentScope().getSingleton(executors).reset()
        # Liquibase's own way asks the server first, and warns if that is gone, as it mostly is.
        self._database.getConnection().getUnderlyingConnection().close()

    def _begin(self) -> "_Begun":
        """Make Liquibase's tables where they are missing, take its lock and read its history."""
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

    def _alone(self, key: Key | None, *, first: bool) -> Any:
        """A changelog of that one changeset: its validation costs what one changeset costs."""
        changelog = self._changelog
        alone = self._java("liquibase.changelog.DatabaseChangeLog")(changelog.recipe.changelog_file)
        alone.setChangeLogParameters(changelog.parameters)
        if first:
            alone.setPreconditions(changelog.parsed.getPreconditions())
        if key is not None:
            alone.addChangeSet(changelog.selected[key])
        return alone

    def _no_listeners(self) -> Any:
        listener = self._java("java.lang.Class").forName(
            "liquibase.changelog.visitor.ChangeExecListener"
        )
        return self._java("java.lang.reflect.Array").newInstance(listener, 0)

    def _histories(self) -> Any:
        return self._java("liquibase.changelog.ChangeLogHistoryServiceFactory").getInstance()


class _Begun(NamedTuple):
    """What every changeset on one link is run with."""

    lock: "_Lock"
    visitor: Any
    environment: Any


class _Lock:
    """Liquibase's lock in the database, in the statements that Liquibase takes it with."""

    def __init__(self, java: Java, database: Any) -> None:
        self._java = java
        self._connection = database.getConnection().getUnderlyingConnection()
        self._statement = self._connection.createStatement()
        self._taking = self._sql("LockDatabaseChangeLogStatement", database)
        self._releasing = self._sql("UnlockDatabaseChangeLogStatement", database)

    def take_again(self) -> None:
        """Take it."""
        self._statement.execute(self._taking)
        self._connection.setAutoCommit(False)

    def release(self) -> None:
        """Give it back. The session is like a new one then: nothing reaches the next changeset."""
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
