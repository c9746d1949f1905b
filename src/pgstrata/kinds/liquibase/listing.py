"""Which changesets of a changelog would run, and for each all that can change what it does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pgstrata.domain.plan import InputFile
from pgstrata.kinds.liquibase.changelog import Changelog, InvalidChangelogError, Key, each, key_of
from pgstrata.kinds.liquibase.jvm import Java, java_errors_ignored

_PREPARED = "PreparedStatement"
_NESTING = ("preConditions", "and", "or", "not")
_FILE = re.compile(r'^\s*\w*(?:[fF]ile|[pP]ath)="([^"\n]*)"', re.MULTILINE)


class Found(NamedTuple):
    """A changeset that would run, with all that can change what it does."""

    key: Key
    checksum: str
    attributes: str
    """All it consists of, as Liquibase writes that down, with parameters replaced."""
    more: tuple[str, ...]
    """What is not among the attributes: inherited contexts and labels, how SQL is rewritten."""
    repeats: bool
    """Whether it would run again, or may leave no trace in the history that it ran."""
    rewritten: bool
    """Whether its SQL is rewritten, which may depend on the contexts it runs in."""
    changes: tuple[str, ...]
    """The names of its changes."""
    conditions: tuple[str, ...]
    """The names of its preconditions, with the value of each property they ask for."""
    sql: tuple[str, ...]
    """The statements it comes to, as far as they do not depend on a database."""
    complete: bool
    """Whether ``sql`` has all statements that do not come from a database or a data file."""
    files: tuple[InputFile, ...]
    """The files it reads, its own changelog first."""
    contents: tuple[str, ...]
    """The digests of those it reads beside its changelog."""


class Listing(NamedTuple):
    """What a changelog comes to."""

    changesets: tuple[Found, ...]
    header: str
    """The preconditions of the changelog as a whole."""
    header_conditions: tuple[str, ...]
    looked_at: tuple[InputFile, ...]
    """Every place that was looked at, there or not."""


def list_changesets(java: Java, changelog: Changelog) -> Listing:
    """Every changeset that would run, in order."""
    reader = _Reader(java, changelog)
    with changelog.reading():
        found = tuple(reader.read(changeset) for changeset in changelog.selected.values())
        header = changelog.parsed.getPreconditions()
        conditions = tuple(reader.conditions(header))
        return Listing(
            changesets=found,
            # Each included changelog adds preconditions of its own, mostly none.
            header=reader.serialized(header) if set(conditions) - set(_NESTING) else "",
            header_conditions=tuple(name for name in conditions if name not in _NESTING),
            looked_at=tuple(changelog.recorder.seen.values()),
        )


class _Reader:
    def __init__(self, java: Java, changelog: Changelog) -> None:
        self._java = java
        self._changelog = changelog
        self._recorder = changelog.recorder
        self._serializer = java("liquibase.serializer.core.string.StringChangeLogSerializer")()
        self._generators = java("liquibase.sqlgenerator.SqlGeneratorFactory").getInstance()
        self._newest = java("liquibase.ChecksumVersion").latest()

    def read(self, changeset: Any) -> Found:
        """A changeset; its files are read on the way, each by Liquibase's own code."""
        self._recorder.taken.clear()
        checksum = str(changeset.generateCheckSum(self._newest).toString())
        attributes = self.serialized(changeset)
        changes = tuple(each(changeset.getChanges()))
        statements = [self._statements(change) for change in changes]
        rewriting = tuple(each(changeset.getSqlVisitors()))
        own = self._own_file(changeset)
        self._take_named_files(attributes, own)
        data = tuple(path for path in self._recorder.taken if path != own)
        return Found(
            key=key_of(changeset),
            checksum=checksum,
            attributes=attributes,
            more=(
                str(changeset.buildFullContext()),
                str(changeset.buildFullLabels()),
                str(changeset.getRunWith()),
                str(changeset.getOnValidationFail()),
                *map(self.serialized, rewriting),
            ),
            repeats=_repeats(changeset),
            rewritten=bool(rewriting),
            changes=tuple(str(change.getSerializedObjectName()) for change in changes),
            conditions=tuple(self.conditions(changeset.getPreconditions())),
            sql=tuple(text for found in statements for text in found or ()),
            complete=None not in statements,
            files=tuple(self._recorder.seen[path] for path in ((own, *data) if own else data)),
            contents=tuple(self._recorder.contents[path] for path in data),
        )

    def serialized(self, thing: Any) -> str:
        """All a thing consists of, as text."""
        return str(self._serializer.serialize(thing, False))

    def conditions(self, condition: Any) -> Iterator[str]:
        """The names of a precondition and all within it."""
        if condition is None:
            return
        name = str(condition.getName())
        if name == "changeLogPropertyDefined":
            value = self._changelog.parameters.getValue(
                condition.getProperty(), self._changelog.parsed
            )
            yield f"{name}={value}"
            return
        yield name
        if name == "customPrecondition":
            self._check_class(str(condition.getClassName()))
        if name in _NESTING:
            for nested in each(condition.getNestedPreconditions()):
                yield from self.conditions(nested)

    def _check_class(self, name: str) -> None:
        """Raise ``InvalidChangelogError`` for a precondition's class that is not there.

        Liquibase looks for it only as it runs, and then takes it as one that does not hold.
        """
        loader = self._java("liquibase.Scope").getCurrentScope().getClassLoader()
        with java_errors_ignored() as failed:
            self._java("java.lang.Class").forName(name, False, loader)
        if failed:
            raise InvalidChangelogError(f"java.lang.ClassNotFoundException: {name}")

    def _statements(self, change: Any) -> tuple[str, ...] | None:
        """A change's statements, None where they do not follow from the changelog alone."""
        offline = self._changelog.offline
        if change.generateStatementsVolatile(offline):
            return None
        made: list[str] = []
        with java_errors_ignored() as failed:
            for statement in change.generateStatements(offline):
                # A prepared statement has its values from the attributes and the files.
                if _PREPARED not in str(statement.getClass().getName()):
                    made.extend(self._texts(statement))
        return None if failed else tuple(made)

    def _texts(self, statement: Any) -> Iterator[str]:
        for sql in self._generators.generateSql(statement, self._changelog.offline):
            yield f"{sql.toSql()}{sql.getEndDelimiter()}"

    def _own_file(self, changeset: Any) -> Path | None:
        path = str(changeset.getChangeLog().getPhysicalFilePath())
        for root in self._changelog.recipe.search_path:
            place = Path(root) / path
            if place in self._recorder.contents:
                return place
        return None

    def _take_named_files(self, attributes: str, own: Path | None) -> None:
        """Take the files that attributes name: Liquibase finds some of them past its accessor.

        A name may start at a root of the search path or at the changelog's directory.
        """
        for name in _FILE.findall(attributes):
            self._recorder.take(name)
            if own is not None:
                self._recorder.take_at(own.parent / name)


def _repeats(changeset: Any) -> bool:
    conditions = changeset.getPreconditions()
    return bool(
        changeset.isAlwaysRun()
        or changeset.getFailOnError() is False
        or (
            conditions is not None
            and "CONTINUE" in f"{conditions.getOnFail()} {conditions.getOnError()}"
        )
    )
