"""Running exactly one changeset of a changelog against a server, as ``update`` would run it."""

import itertools
from typing import Any, NamedTuple

from pgstrata.kinds.liquibase.changelog import Changelog, Key, scope
from pgstrata.kinds.liquibase.jvm import Java

_urls = itertools.count()


class Target(NamedTuple):
    """A server to run a changeset against."""

    host: str
    port: int
    database: str
    user: str
    password: str

    @property
    def url(self) -> str:
        """Its address, as JDBC wants it."""
        return f"jdbc:postgresql://{self.host}:{self.port}/{self.database}"


def apply(
    java: Java, changelog: Changelog, key: Key | None, target: Target, *, first: bool
) -> None:
    """Run one changeset under Liquibase's lock, with validation; with None, only make its tables.

    ``first``: whether it is the first of its recipe, which checks the preconditions of the
    changelog as a whole. Raises ``JavaError``.
    """
    # Liquibase remembers which URLs it found up to date.
    fresh = f"{target.url}?ApplicationName=pgstrata-{next(_urls)}"
    database = (
        java("liquibase.database.DatabaseFactory")
        .getInstance()
        .openDatabase(fresh, target.user, target.password, None, changelog.accessor)
    )
    try:
        with scope(java, {"resourceAccessor": changelog.accessor, "database": database}):
            _locked(java, changelog, key, database, first=first)
    finally:
        _forget(java)
        database.close()


def _locked(
    java: Java, changelog: Changelog, key: Key | None, database: Any, *, first: bool
) -> None:
    lock = java("liquibase.lockservice.LockServiceFactory").getInstance().getLockService(database)
    history = _history(java).getChangeLogService(database)
    history.init()
    lock.waitForLock()
    history.generateDeploymentId()
    alone = _alone(java, changelog, key, first=first)
    alone.validate(database, changelog.contexts, changelog.labels)
    visitor = java("liquibase.changelog.visitor.UpdateVisitor")(
        database,
        java("liquibase.changelog.visitor.DefaultChangeExecListener")(_none(java)),
        java("liquibase.changelog.filter.ShouldRunChangeSetFilter")(database),
    )
    iterator = java("liquibase.changelog.ChangeLogIterator")(alone, java.list())
    iterator.run(visitor, changelog.environment(database))
    # Whatever fails before this leaves a server that is thrown away, with its lock.
    lock.releaseLock()


def _alone(java: Java, changelog: Changelog, key: Key | None, *, first: bool) -> Any:
    """A changelog of that one changeset: its validation costs what one changeset costs."""
    alone = java("liquibase.changelog.DatabaseChangeLog")(changelog.recipe.changelog_file)
    alone.setChangeLogParameters(changelog.parameters)
    if first:
        alone.setPreconditions(changelog.parsed.getPreconditions())
    if key is not None:
        alone.addChangeSet(changelog.selected[key])
    return alone


def _none(java: Java) -> Any:
    return java("java.lang.reflect.Array").newInstance(
        java("java.lang.Class").forName("liquibase.changelog.visitor.ChangeExecListener"), 0
    )


def _history(java: Java) -> Any:
    return java("liquibase.changelog.ChangeLogHistoryServiceFactory").getInstance()


def _forget(java: Java) -> None:
    """Let Liquibase forget the database, which it keeps in singletons."""
    _history(java).resetAll()
    java("liquibase.lockservice.LockServiceFactory").getInstance().resetAll()
    current = java("liquibase.Scope").getCurrentScope()
    executors = java("java.lang.Class").forName("liquibase.executor.ExecutorService")
    current.getSingleton(executors).reset()
