"""A request for Liquibase as plain data."""

from typing import Literal

from pgstrata.domain.model import Model
from pgstrata.kinds.liquibase import search_path

Command = Literal["update", "update-count", "update-to-tag"]


_CONFIGURATION = {
    "--liquibase-schema-name": "liquibase.liquibaseSchemaName",
    "--database-changelog-table-name": "liquibase.databaseChangelogTableName",
    "--database-changelog-lock-table-name": "liquibase.databaseChangelogLockTableName",
}
NAMING = ("--default-schema-name", *_CONFIGURATION)


class Recipe(Model, frozen=True, kw_only=True):
    """A changelog and everything that determines how to read it."""

    command: Command
    changelog_file: str
    """As Liquibase names it in its history: relative to the search path, with ``/``."""
    search_path: tuple[str, ...]
    """Absolute directories, or archives, in which files are looked for."""
    contexts: str = ""
    labels: str = ""
    count: int | None = None
    """How many changesets, for ``update-count``."""
    tag: str | None = None
    """The tag to stop at, for ``update-to-tag``."""
    naming: dict[str, str] = {}
    """Options that say which schema is meant, and where the history is, by their names."""
    parameters: dict[str, str] = {}
    """Values for ``${name}``, which override those of the changelog."""

    @property
    def default_schema(self) -> str | None:
        """The schema of what names none."""
        return self.naming.get("--default-schema-name")

    @property
    def configuration(self) -> dict[str, str]:
        """Where the history is, as Liquibase's own configuration."""
        return {
            key: self.naming[name] for name, key in _CONFIGURATION.items() if name in self.naming
        }

    @property
    def history_tables(self) -> tuple[str, ...]:
        """The names that it gives to the tables of the history."""
        return tuple(text for name, text in self.naming.items() if name.endswith("-table-name"))

    def words(self) -> tuple[str, ...]:
        """The recipe as arguments of Liquibase's command line."""
        named = {
            "--changelog-file": self.changelog_file,
            "--search-path": search_path.write(self.search_path),
            "--contexts": self.contexts,
            "--labels": self.labels,
            "--count": "" if self.count is None else str(self.count),
            "--tag": self.tag or "",
            **self.naming,
        }
        return (
            self.command,
            *(f"{name}={value}" for name, value in named.items() if value),
            *(f"-D{name}={value}" for name, value in sorted(self.parameters.items())),
        )
