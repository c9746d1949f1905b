"""The SQL of changes, as far as it depends only on the changelog."""

from typing import Any, NamedTuple

from pgstrata.kinds.liquibase.bulk import Bulk, Rows

CHANGE = "liquibase.change.Change"
_DATABASE = "liquibase.database.Database"
_SQL = "liquibase.sql.Sql"
_PREPARED = "PreparedStatement"


class Statements(NamedTuple):
    """The statements of many changesets."""

    texts: list[tuple[str, ...]]
    """Those of each changeset, with their delimiters."""
    unknown: set[int]
    """The changesets with more statements, which depend on more than the changelog."""


class Generator:
    """Liquibase's own generators, without a server."""

    def __init__(self, bulk: Bulk, generators: Any, database: Any) -> None:
        self._bulk = bulk
        with_database = (database,)
        self._volatile = bulk.function(
            CHANGE, "generateStatementsVolatile", _DATABASE, more=with_database
        )
        self._statements = bulk.function(
            CHANGE, "generateStatements", _DATABASE, more=with_database, safe=True
        )
        self._generated = bulk.function(
            "liquibase.sqlgenerator.SqlGeneratorFactory",
            "generateSql",
            "liquibase.statement.SqlStatement",
            _DATABASE,
            on=generators,
            more=with_database,
            safe=True,
        )
        self._class = bulk.function("java.lang.Object", "getClass")
        self._sql = bulk.function(_SQL, "toSql")
        self._end = bulk.function(_SQL, "getEndDelimiter")

    def generate(self, changes: Rows, count: int) -> Statements:
        """The statements of the changes of ``count`` changesets."""
        bulk = self._bulk
        volatile = bulk.texts(changes, self._volatile)
        stable, unknown = bulk.only(changes, [text == "false" for text in volatile])
        arrays, failed = bulk.present(bulk.map(stable, self._statements))
        statements = bulk.flat_arrays(arrays)
        # A prepared statement has its values from the attributes and the files.
        plain = [_PREPARED not in str(name) for name in bulk.texts(statements, self._class)]
        arrays, refused = bulk.present(bulk.map(bulk.only(statements, plain)[0], self._generated))
        sql = bulk.flat_arrays(arrays)
        pairs = zip(bulk.texts(sql, self._sql), bulk.texts(sql, self._end), strict=True)
        texts = [f"{text}{end}" for text, end in pairs]
        return Statements(sql.grouped(texts, count), unknown | failed | refused)
