"""Which changesets of a changelog would run, and for each all that can change what it does."""

import re
from collections.abc import Iterator
from pathlib import PurePath, PurePosixPath
from typing import Any, NamedTuple

from pgstrata.kinds.liquibase.bulk import Rows
from pgstrata.kinds.liquibase.changelog import CHANGESET, Changelog, Key
from pgstrata.kinds.liquibase.conditions import NESTING, Conditions
from pgstrata.kinds.liquibase.jvm import Java
from pgstrata.kinds.liquibase.statements import CHANGE, Generator
from pgstrata.kinds.sources.base import Seen

_SERIALIZER = "liquibase.serializer.core.string.StringChangeLogSerializer"
_MORE = ("buildFullContext", "buildFullLabels", "getRunWith", "getOnValidationFail")
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
    files: tuple[Seen, ...]
    """The files it reads, its own changelog first."""
    contents: tuple[str, ...]
    """The digests of those it reads beside its changelog."""


class Listing(NamedTuple):
    """What a changelog comes to."""

    changesets: tuple[Found, ...]
    header: str
    """The preconditions of the changelog as a whole."""
    header_conditions: tuple[str, ...]
    looked_at: tuple[Seen, ...]
    """Every place that was looked at, there or not."""


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
    """Asks one thing of all changesets at a time; their files are read on the way."""

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
        """The preconditions of the changelog as a whole, and their names but for the nesting."""
        rows, _ = self._bulk.present(
            Rows(self._java.list(self._changelog.parsed.getPreconditions()), (0,))
        )
        names = [name for names in self._conditions.names(rows) for name in names]
        own = tuple(name for name in names if name not in NESTING)
        # Each included changelog adds preconditions of its own, mostly none.
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
        """The names of each changeset's, and whether it would run again, or leave no trace."""
        get = self._bulk.function(CHANGESET, "getPreconditions")
        containers, _ = self._bulk.present(self._bulk.map(self._changesets, get))
        grouped = containers.grouped(self._conditions.names(containers), self._count)
        goes_on = containers.grouped(self._conditions.goes_on(containers), self._count)
        flags = zip(self._each("isAlwaysRun"), self._each("getFailOnError"), goes_on, strict=True)
        return (
            [names[0] if names else () for names in grouped],
            [always == "true" or fail == "false" or any(on) for always, fail, on in flags],
        )

    def _files(self, index: int, attributes: str, own: PurePath | None) -> tuple[PurePath, ...]:
        """The files a changeset reads, its own changelog first.

        Those that attributes name Liquibase finds in part past its accessor. Such a name may start
        at a root of the search path or at the changelog's directory.
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
        return [self._place(path) for path in paths]

    def _place(self, path: str) -> PurePath | None:
        for root in self._changelog.recipe.search_path:
            place = PurePosixPath(root) / path
            if place in self._recorder.contents:
                return place
        return None

    def _items(self, name: str) -> Rows:
        """The items of the lists that a method of each changeset comes to."""
        function = self._bulk.function(CHANGESET, name)
        return self._bulk.flat(self._bulk.map(self._changesets, function))

    def _each(self, name: str) -> list[str]:
        """What a method of each changeset comes to."""
        return self._texts(self._changesets, self._bulk.function(CHANGESET, name))

    def _grouped(self, rows: Rows, function: Any) -> list[tuple[str, ...]]:
        """What a function makes of each row, by changeset."""
        return rows.grouped(self._texts(rows, function), self._count)

    def _texts(self, rows: Rows, function: Any, *functions: Any) -> list[str]:
        # Nothing is written as Python does.
        return [str(text) for text in self._bulk.texts(rows, function, *functions)]
