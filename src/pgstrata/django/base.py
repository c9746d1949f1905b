"""What Django looks for in a backend."""

from typing import Any

from django.db.backends.postgresql import base, operations

from pgstrata.django.creation import DatabaseCreation

_START_ANEW = "-- a database in which no test has been"


class DatabaseOperations(operations.DatabaseOperations):  # type: ignore[misc]
    """PostgreSQL's; but tests get another database in place of a flush."""

    def sql_flush(
        self,
        style: Any,
        tables: Any,
        *,
        reset_sequences: bool = False,
        allow_cascade: bool = False,
    ) -> list[str]:
        # The end of a TransactionTestCase is told from all other flushes by the sequences.
        if self.connection.creation.state_id is not None and not reset_sequences:
            return [_START_ANEW]
        flush: list[str] = super().sql_flush(
            style, tables, reset_sequences=reset_sequences, allow_cascade=allow_cascade
        )
        return flush

    def execute_sql_flush(self, sql_list: list[str]) -> None:
        if sql_list == [_START_ANEW]:
            self.connection.creation.start_anew()
        else:
            super().execute_sql_flush(sql_list)


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]
    """A connection to PostgreSQL whose test databases are instances."""

    creation_class = DatabaseCreation
    ops_class = DatabaseOperations
