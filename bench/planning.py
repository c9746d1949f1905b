"""The plan of a long changelog, beside Liquibase's own reading of it in a Java of the same sort."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.report import Row, timed
from pgstrata.kinds.liquibase import installation
from pgstrata.kinds.liquibase.changelog import scope
from pgstrata.kinds.liquibase.jvm import Java, Jvm
from tests.liquibase import liquibase_home

_ROUNDS = 9
_WARMING = 3
"""The first rounds are Java's own warming up."""
_COLD_ROUNDS = 3
_ENV = {"PATH": "/usr/bin:/bin"}


def measure(
    plan: Callable[[], Sequence[dict[str, Any]]],
    engine: psutil.Process,
    work: Path,
    *,
    changelog: str,
    dsn: str,
) -> list[Row]:
    """Time plans of a chain that is cached, and Java's own checks, in turns.

    ``plan`` asks for the plan of a changelog that has run in the database of ``dsn``.
    """

    def planned() -> None:
        assert all(step["cached"] for step in plan())

    def read_anew() -> None:
        (work / "part0.xml").touch()
        planned()

    def read_cold() -> None:
        (work / "part0.xml").touch()
        _end_javas(engine)
        planned()

    def own_cold() -> None:
        with _Own(work, changelog, dsn) as own:
            own.check()

    with _Own(work, changelog, dsn) as own:
        rounds = [(timed(planned), timed(read_anew), timed(own.check)) for _ in range(_ROUNDS)]
    cached, again, warm = map(median, zip(*rounds[_WARMING:], strict=True))
    rounds_cold = [(timed(read_cold), timed(own_cold)) for _ in range(_COLD_ROUNDS)]
    cold, base_cold = map(median, zip(*rounds_cold, strict=True))
    against = "a warm Java's own parse and check of it"
    return [
        Row(
            what="plan of the cached chain, over HTTP",
            value=cached,
            against=against,
            base=warm,
            limit=1.5,
        ),
        Row(
            what="    the same with a file touched, so that it is read anew",
            value=again,
            against=against,
            base=warm,
            limit=1.5,
        ),
        Row(
            what="    the same without a Java that runs already",
            value=cold,
            against="the start of a Java, and its own parse and check",
            base=base_cold,
        ),
    ]


def javas(engine: psutil.Process) -> Iterator[psutil.Process]:
    """The engine's Javas. One that was idle for long may end by itself at any time."""
    for child in engine.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == "java":
                yield child


def _end_javas(engine: psutil.Process) -> None:
    for java in javas(engine):
        with contextlib.suppress(psutil.NoSuchProcess):
            java.kill()
            # The engine takes notice of its end later.
            while java.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.005)


class _Own:
    """Liquibase parsing a changelog and finding that all of it has run, as it does it itself."""

    def __init__(self, work: Path, changelog: str, dsn: str) -> None:
        self._work = work
        self._changelog = changelog
        self._address = dsn.rpartition("@")[2]
        self._password = dsn.partition("postgres:")[2].partition("@")[0]
        self._found = installation.find(home=liquibase_home(), extensions=(), java=None, env=_ENV)
        self._runner = asyncio.Runner()
        self._jvm = Jvm()

    def __enter__(self) -> "_Own":
        self._runner.run(self._jvm.start(self._found, self._work, _ENV))
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._jvm.close())
        self._runner.close()

    def check(self) -> None:
        self._runner.run(self._jvm.call(self._check))

    def _check(self, java: Java) -> None:
        files = java("liquibase.resource.DirectoryResourceAccessor")(
            java("java.io.File")(str(self._work))
        )
        accessor = java("liquibase.resource.CompositeResourceAccessor")(
            java.list(files, java("liquibase.resource.ClassLoaderResourceAccessor")())
        )
        database = (
            java("liquibase.database.DatabaseFactory")
            .getInstance()
            .openDatabase(
                f"jdbc:postgresql://{self._address}", "postgres", self._password, None, accessor
            )
        )
        with scope(java, {"resourceAccessor": accessor, "database": database}):
            liquibase = java("liquibase.Liquibase")(self._changelog, accessor, database)
            liquibase.listUnrunChangeSets(
                java("liquibase.Contexts")("test"), java("liquibase.LabelExpression")("")
            )
            changesets = liquibase.getDatabaseChangeLog().getChangeSets()
            newest = java("liquibase.ChecksumVersion").latest()
            for number in range(changesets.size()):
                changesets.get(number).generateCheckSum(newest)
        database.close()
