"""Running exactly one changeset of a changelog against a server, as ``update`` would run it."""

import itertools
from typing import Any, NamedTuple

from pgstrata.kinds.liquibase.changelog import Changelog, Key, scope
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
    """A connection to a server with all that Liquibase knows of it, kept between changesets."""

    def __init__(self, java: Java, changelog: Changelog, target: Target) -> None:
        """Connect, and make Liquibase's tables where they are missing."""
        self.target = target
        self._java = java
        self._changelog = changelog
        self._database = (
            java("liquibase.database.DatabaseFactory")
            .getInstance()
            .openDatabase(target.url, target.user, target.password, None, changelog.accessor)
        )
        self._used = False

    def run(self, key: Key | None, *, first: bool) -> None:
        """Run one changeset under Liquibase's lock, with validation; none if there is no key.

        ``first``: whether it is the first of its recipe, which checks the preconditions of the
        changelog as a whole. Raises Java's exceptions; the link is of no use after one.
        """
        if self._used:
            self._start_afresh()
        self._used = True
        with scope(
            self._java, {"resourceAccessor": self._changelog.accessor, "database": self._database}
        ):
            self._locked(key, first=first)

    def close(self) -> None:
        """Disconnect, and let Liquibase forget the database, which it keeps in singletons."""
        java = self._java
        self._histories().resetAll()
        java("liquibase.lockservice.LockServiceFactory").getInstance().resetAll()
        executors = java("java.lang.Class").forName("liquibase.executor.ExecutorService")
        java("liquibase.Scope").getCurrentScope().getSingleton(executors).reset()
        # Liquibase's own way asks the server first, and warns if that is gone, as it mostly is.
        self._database.getConnection().getUnderlyingConnection().close()

    def _start_afresh(self) -> None:
        """Make the session as a new one: what a changeset sets must not reach the next."""
        connection = self._database.getConnection().getUnderlyingConnection()
        connection.setAutoCommit(True)
        statement = connection.createStatement()
        statement.execute("DISCARD ALL")
        statement.close()
        connection.setAutoCommit(False)

    def _locked(self, key: Key | None, *, first: bool) -> None:
        java, changelog, database = self._java, self._changelog, self._database
        lock = (
            java("liquibase.lockservice.LockServiceFactory").getInstance().getLockService(database)
        )
        history = self._histories().getChangeLogService(database)
        history.init()
        lock.waitForLock()
        history.generateDeploymentId()
        alone = self._alone(key, first=first)
        alone.validate(database, changelog.contexts, changelog.labels)
        visitors = "liquibase.changelog.visitor"
        visitor = java(f"{visitors}.UpdateVisitor")(
            database,
            java(f"{visitors}.DefaultChangeExecListener")(self._no_listeners()),
            java("liquibase.changelog.filter.ShouldRunChangeSetFilter")(database),
        )
        iterator = java("liquibase.changelog.ChangeLogIterator")(alone, java.list())
        iterator.run(visitor, changelog.environment(database))
        # Whatever fails before this leaves a server that is thrown away, with its lock.
        lock.releaseLock()

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
