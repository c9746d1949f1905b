"""A changelog as Liquibase reads it, and which of its changesets would run.

Everything here runs in Java's thread. Reading needs no server: every recipe starts from an empty
database, so what would run depends only on the changelog, its filters and the dialect.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pgstrata.kinds.liquibase.bulk import Bulk, Rows
from pgstrata.kinds.liquibase.jvm import Java
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.kinds.liquibase.resources import Recorder
from pgstrata.kinds.sources.base import Sources
from pgstrata.system.watching import Watch

CHANGESET = "liquibase.changelog.ChangeSet"
_OFFLINE = "offline:postgresql?outputLiquibaseSql=none&catalog=postgres"

UNKNOWN_VERSION = 719_204_638
"""The server version given to changelogs, recognisable wherever one uses it."""
_OFFLINE_VERSION = 999

DEFAULT_SCHEMA = "public"
"""What Liquibase finds to be the default schema of a new cluster."""


class InvalidChangelogError(Exception):
    """Liquibase finds a changelog invalid; the message is its own."""


class Key(NamedTuple):
    """What identifies a changeset in Liquibase's history."""

    path: str
    id: str
    author: str

    def __str__(self) -> str:
        return f"{self.path}::{self.id}::{self.author}"


class Selected:
    """The changesets that would run, in order."""

    def __init__(self, bulk: Bulk, objects: Any) -> None:
        self.rows = Rows(objects, range(objects.size()))
        """Java's objects for them, each its own owner."""
        columns = (
            map(str, bulk.texts(self.rows, bulk.function(CHANGESET, name)))
            for name in ("getFilePath", "getId", "getAuthor")
        )
        self.keys = tuple(Key(*parts) for parts in zip(*columns, strict=True))
        self._numbers = {key: number for number, key in enumerate(self.keys)}

    def __getitem__(self, key: Key) -> Any:
        """Java's object for one."""
        return self.rows.objects.get(self._numbers[key])


class Changelog:
    """A parsed changelog: the same objects are listed and run."""

    def __init__(
        self,
        java: Java,
        recipe: Recipe,
        sources: Sources,
        watch: Watch,
        local_root: Path = Path("/"),
    ) -> None:
        """Parse it. ``watch`` follows every path that is looked at.

        Raises ``InvalidChangelogError`` and Java's own exceptions.
        """
        self.recipe = recipe
        self._java = java
        self.bulk = Bulk(java)
        roots = [PurePosixPath(root) for root in recipe.search_path]
        self.recorder = Recorder(java, roots, sources, local_root, watch)
        # Besides the recipe's files there are Liquibase's own, such as the schemas of XML
        # changelogs, and those in extensions.
        own = java("liquibase.resource.ClassLoaderResourceAccessor")()
        self.accessor = java("liquibase.resource.CompositeResourceAccessor")(
            java.list(self.recorder, own)
        )
        self.contexts = java("liquibase.Contexts")(recipe.contexts)
        self.labels = java("liquibase.LabelExpression")(recipe.labels)
        with scope(java, {**recipe.configuration, "resourceAccessor": self.accessor}):
            self.offline = (
                java("liquibase.database.DatabaseFactory")
                .getInstance()
                .openDatabase(_OFFLINE, None, None, None, self.accessor)
            )
            self.offline.setDefaultSchemaName(recipe.default_schema or DEFAULT_SCHEMA)
        with self.reading():
            self.parameters = self._parameters()
            self.parsed = self._parse()
            self._validate()
            self.selected = self._select()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Liquibase's scope without a server."""
        with (
            self.recorder.reading(),
            scope(self._java, self.scope_values(self.offline)),
        ):
            yield

    def scope_values(self, database: Any) -> dict[str, Any]:
        """Liquibase's scope for a database."""
        return {
            **self.recipe.configuration,
            "resourceAccessor": self.accessor,
            "database": database,
        }

    def environment(self, database: Any) -> Any:
        """Liquibase's runtime environment for a database."""
        return self._java("liquibase.RuntimeEnvironment")(database, self.contexts, self.labels)

    def _parameters(self) -> Any:
        connection = self.offline.getConnection()
        _set_version(connection, UNKNOWN_VERSION)
        parameters = self._java("liquibase.changelog.ChangeLogParameters")(self.offline)
        _set_version(connection, _OFFLINE_VERSION)
        parameters.setContexts(self.contexts)
        parameters.setLabels(self.labels)
        for name, value in self.recipe.parameters.items():
            parameters.set(name, value)
        return parameters

    def _parse(self) -> Any:
        path = self.recipe.changelog_file
        parsers = self._java("liquibase.parser.ChangeLogParserFactory").getInstance()
        parser = parsers.getParser(path, self.accessor)
        return parser.parse(path, self.parameters, self.accessor)

    def _validate(self) -> None:
        """Check everything that can be checked without a server.

        That excludes the preconditions of the changelog as a whole: the first step checks them.
        """
        visitor = self._java("liquibase.changelog.visitor.ValidatingVisitor")(self._java.list())
        self._visit(visitor, self._filters())
        if not visitor.validationPassed():
            error = self._java("liquibase.exception.ValidationFailedException")(visitor)
            raise InvalidChangelogError(str(error.getMessage()))

    def _select(self) -> Selected:
        visitor = self._java("liquibase.changelog.visitor.ListVisitor")()
        self._visit(visitor, (*self._filters(), *self._limits()))
        return Selected(self.bulk, visitor.getSeenChangeSets())

    def _visit(self, visitor: Any, filters: tuple[Any, ...]) -> None:
        iterator = self._java("liquibase.changelog.ChangeLogIterator")(
            self.parsed, self._java.list(*filters)
        )
        iterator.run(visitor, self.environment(self.offline))

    def _filters(self) -> tuple[Any, ...]:
        package = "liquibase.changelog.filter"
        return (
            self._java(f"{package}.DbmsChangeSetFilter")(self.offline),
            self._java(f"{package}.ContextChangeSetFilter")(self.contexts),
            self._java(f"{package}.LabelChangeSetFilter")(self.labels),
        )

    def _limits(self) -> Iterator[Any]:
        package = "liquibase.changelog.filter"
        yield self._java(f"{package}.IgnoreChangeSetFilter")()
        if self.recipe.count is not None:
            yield self._java(f"{package}.CountChangeSetFilter")(self.recipe.count)
        if self.recipe.tag is not None:
            yield self._java(f"{package}.UpToTagChangeSetFilter")(
                self.recipe.tag, self._java.list()
            )


@contextmanager
def scope(java: Java, values: Mapping[str, Any]) -> Iterator[None]:
    """Run the block with these values in Liquibase's scope."""
    with entered(java, scope_values(java, values)):
        yield


def scope_values(java: Java, values: Mapping[str, Any]) -> Any:
    """The values of a scope of Liquibase's, to be entered."""
    scoped = java("java.util.HashMap")()
    for name, value in values.items():
        scoped.put(name, value)
    return scoped


@contextmanager
def entered(java: Java, around: Any) -> Iterator[None]:
    """Run the block in a scope of Liquibase's with these values."""
    number = java.enter(around)
    try:
        yield
    finally:
        java.exit(number)


def _set_version(connection: Any, version: int) -> None:
    connection.setDatabaseMajorVersion(version)
    connection.setDatabaseMinorVersion(version)
    connection.setProductVersion(str(version))
