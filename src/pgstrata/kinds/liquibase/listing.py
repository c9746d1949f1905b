"""The changesets of a changelog that would run, each with everything that can affect it."""

import re
from collections.abc import Iterator
from pathlib import PurePath, PurePosixPath
from typing import Any, NamedTuple

from pgstrata.kinds.liquibase.bulk import Rows
from pgstrata.kinds.liquibase.changelog import CHANGESET, Changelog, Key
from pgstrata.kinds.liquibase.conditions import NESTING, Conditions
from pgstrata.kinds.liquibase.jvm import Java
from pgstrata.kinds.liquibase.resources import on_class_path
from pgstrata.kinds.liquibase.statements import CHANGE, Generator
from pgstrata.kinds.sources.base import Seen

_SERIALIZER = "liquibase.serializer.core.string.StringChangeLogSerializer"
_MORE = ("buildFullContext", "buildFullLabels", "getRunWith", "getOnValidationFail")
_FILE = re.compile(r'^\s*\w*(?:[fF]ile|[pP]ath)="([^"\n]*)"', re.MULTILINE)


class Found(NamedTuple):
    """A changeset that would run, with everything that can affect it."""

    key: Key
    checksum: str
    attributes: str
    """Its content as serialized by Liquibase, with parameters replaced."""
    more: tuple[str, ...]
    """What the attributes lack: inherited contexts and labels, how SQL is rewritten."""
    repeats: bool
    """Whether it would run again, or may leave no entry in the history."""
    rewritten: bool
    """Whether its SQL is rewritten, which may depend on the contexts it runs in."""
    changes: tuple[str, ...]
    """The names of its changes."""
    conditions: tuple[str, ...]
    """The names of its preconditions, with the value of each property they check."""
    sql: tuple[str, ...]
    """Its statements, as far as they do not depend on a database."""
    complete: bool
    """Whether ``sql`` has all statements that do not come from a database or a data file."""
    files: tuple[Seen, ...]
    """The files it reads, its own changelog first."""
    contents: tuple[str, ...]
    """The digests of those files, apart from its changelog."""


class Listing(NamedTuple):
    """A changelog's changesets and preconditions."""

    changesets: tuple[Found, ...]
    header: str
    """The preconditions of the changelog as a whole."""
    header_conditions: tuple[str, ...]
    looked_at: tuple[Seen, ...]
    """Every path that was looked at, whether it exists or not."""


def list_changesets(java: Java, changelog: Changelog) -> Listing:
    """Every changeset that would run, in order."""
    with changelog.reading():
        reader = _Reader(java, changelog)
        found = tuple(reader.read())
        header, names = reader.header()
    return Listing(
        changesets=found,
        header=header,
        header_conditions=names,
        looked_at=tuple(changelog.recorder.seen.values()),
    )


class _Reader:
    """Asks one question for all changesets at a time; their files are read along the way."""

    def __init__(self, java: Java, changelog: Changelog) -> None:
        self._java = java
        self._changelog = changelog
        self._recorder = changelog.recorder
        self._bulk = changelog.bulk
        self._changesets = changelog.selected.rows
        self._count = len(self._changesets.owners)
        self._taken: list[dict[PurePath, None]] = [{} for _ in range(self._count)]
        self._conditions = Conditions(java, changelog)
        self._serialized = self._bulk.function(
            _SERIALIZER,
            "serialize",
            "liquibase.serializer.LiquibaseSerializable",
            "boolean",
            on=java(_SERIALIZER)(),
            more=(False,),
        )

    def read(self) -> Iterator[Found]:
        """The changesets."""
        taken = self._recorder.noting(lambda: self._taken[self._bulk.owner])
        with self._bulk.counting(), taken:
            checksums = self._checksums()
            attributes = self._texts(self._changesets, self._serialized)
            changes = self._items("getChanges")
            statements = self._generator().generate(changes, self._count)
        names = self._grouped(changes, self._bulk.function(CHANGE, "getSerializedObjectName"))
        rewriting = self._grouped(self._items("getSqlVisitors"), self._serialized)
        more = list(zip(*(self._each(name) for name in _MORE), strict=True))
        conditions, repeats = self._preconditions()
        owns = self._own_files()
        for index, key in enumerate(self._changelog.selected.keys):
            files = self._files(index, attributes[index], owns[index])
            data = tuple(path for path in files if path != owns[index])
            yield Found(
                key=key,
                checksum=checksums[index],
                attributes=attributes[index],
                more=(*more[index], *rewriting[index]),
                repeats=repeats[index],
                rewritten=bool(rewriting[index]),
                changes=names[index],
                conditions=conditions[index],
                sql=statements.texts[index],
                complete=index not in statements.unknown,
                files=tuple(self._recorder.seen[path] for path in files),
                contents=tuple(self._recorder.contents[path] for path in data),
            )

    def header(self) -> tuple[str, tuple[str, ...]]:
        """The preconditions of the changelog as a whole, and their names without the nesting."""
        rows, _ = self._bulk.present(
            Rows(self._java.list(self._changelog.parsed.getPreconditions()), (0,))
        )
        names = [name for names in self._conditions.names(rows) for name in names]
        own = tuple(name for name in names if name not in NESTING)
        # Each included changelog adds its own preconditions, usually none.
        return "".join(self._texts(rows, self._serialized)) if own else "", own

    def _checksums(self) -> list[str]:
        version = "liquibase.ChecksumVersion"
        newest = (self._java(version).latest(),)
        checksum = self._bulk.function(CHANGESET, "generateCheckSum", version, more=newest)
        return self._texts(self._changesets, checksum)

    def _generator(self) -> Generator:
        generators = self._java("liquibase.sqlgenerator.SqlGeneratorFactory").getInstance()
        return Generator(self._bulk, generators, self._changelog.offline)

    def _preconditions(self) -> tuple[list[tuple[str, ...]], list[bool]]:
        """For each changeset their names, and whether it would run again or leave no entry."""
        get = self._bulk.function(CHANGESET, "getPreconditions")
        containers, _ = self._bulk.present(self._bulk.map(self._changesets, get))
        grouped = containers.grouped(self._conditions.names(containers), self._count)
        on = containers.grouped(self._conditions.may_continue(containers), self._count)
        flags = zip(self._each("isAlwaysRun"), self._each("getFailOnError"), on, strict=True)
        return (
            [names[0] if names else () for names in grouped],
            [always == "true" or fail == "false" or any(skip) for always, fail, skip in flags],
        )

    def _files(self, index: int, attributes: str, own: PurePath | None) -> tuple[PurePath, ...]:
        """The files a changeset reads, its own changelog first.

        Liquibase finds some of those named by attributes without its accessor. Such a name may be
        relative to a root of the search path or to the changelog's directory.
        """
        taken = self._taken[index]
        with self._recorder.noting(lambda: taken):
            for name in _FILE.findall(attributes):
                self._recorder.take(name)
                if own is not None:
                    self._recorder.take_at(own.parent / name)
        data = (path for path in taken if path != own)
        return (own, *data) if own else tuple(data)

    def _own_files(self) -> list[PurePath | None]:
        changelog = "liquibase.changelog.DatabaseChangeLog"
        paths = self._texts(
            self._changesets,
            self._bulk.function(CHANGESET, "getChangeLog"),
            self._bulk.function(changelog, "getPhysicalFilePath"),
        )
        return [self._find(path) for path in paths]

    def _find(self, path: str) -> PurePath | None:
        for root in self._changelog.recipe.search_path:
            full = PurePosixPath(root) / on_class_path(path)
            if full in self._recorder.contents:
                return full
        return None

    def _items(self, name: str) -> Rows:
        """The items of the lists that a method of each changeset returns."""
        function = self._bulk.function(CHANGESET, name)
        return self._bulk.flat(self._bulk.map(self._changesets, function))

    def _each(self, name: str) -> list[str]:
        """The results of a method of each changeset."""
        return self._texts(self._changesets, self._bulk.function(CHANGESET, name))

    def _grouped(self, rows: Rows, function: Any) -> list[tuple[str, ...]]:
        """The results of a function for each row, by changeset."""
        return rows.grouped(self._texts(rows, function), self._count)

    def _texts(self, rows: Rows, function: Any, *functions: Any) -> list[str]:
        # Java's null becomes the text "None".
        return [str(text) for text in self._bulk.texts(rows, function, *functions)]
