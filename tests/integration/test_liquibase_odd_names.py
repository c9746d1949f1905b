"""Changelogs in directories and archives with names that Liquibase's search path stumbles over."""

import asyncio
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgstrata.domain.plan import Step
from pgstrata.kinds.liquibase.arguments import absolute
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from tests import changelogs
from tests.clusters import NativeRig, rig_below
from tests.liquibase import launcher
from tests.liquibase_runs import LOCAL, liquibase, request, rows, run

ODD = (
    *("a,b", "a, b", ",", "ends,", "per%cent", "per%2Ccent", "a+b", "a#b", "a?b", "a:b", "a;b"),
    *("two  blanks", "ends ", "back\\slash", "file:a", "a!b", "größer, 数据", "'one' \"two\""),
)
PLAIN = tuple(f"plain{number}" for number in range(len(ODD)))


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "liquibase") as rig:
        yield rig


def written(directory: Path, names: tuple[str, ...]) -> str:
    """Write a changeset that needs a directory and an archive of each name; the search path."""
    files: list[str] = []
    places = [directory]
    for number, name in enumerate(names):
        places += directory / name, directory / f"{name}.zip"
        files += f"{number}.sql", f"archived {number}.sql"
        changelogs.write(places[-2], {files[-2]: f"create table t{number} ()"})
        with zipfile.ZipFile(places[-1], "w") as archive:
            archive.writestr(files[-1], f"create table archived{number} ()")
    changes = (f'<sqlFile path="{file}"/>' for file in files)
    changelogs.write(directory, {"a.xml": changelogs.xml(changelogs.changeset(1, *changes))})
    return ",".join(place.as_uri() for place in places)


@pytest.mark.parametrize(
    "own",
    [
        pytest.param(False, id="Java that is kept"),
        pytest.param(True, id="Liquibase of one's own", marks=pytest.mark.slow),
    ],
)
def test_the_names_of_directories_and_archives_change_nothing(
    rig: NativeRig, tmp_path: Path, own: bool
) -> None:
    """Neither what a state is named by, nor how it is built by one who did not plan it."""
    settings: dict[str, Any] = {"exec": launcher(tmp_path)} if own else {}

    async def planned(kind: LiquibaseKind, search_path: str) -> tuple[Step, ...]:
        words = ("update", "--changelog-file=a.xml", f"--search-path={search_path}")
        return await kind.steps(request(tmp_path, *absolute(words, str(tmp_path))), LOCAL)

    async def scenario() -> None:
        async with liquibase(**settings) as kind:
            plain = await planned(kind, written(tmp_path / "plain", PLAIN))
            steps = await planned(kind, written(tmp_path / "odd", ODD))
        assert [step.digest for step in steps] == [step.digest for step in plain]
        async with liquibase(**settings) as kind, rig.serving() as server:
            await run(rig, kind, server, steps)
            found = rows(
                rig, server, "select from pg_tables where tablename ~ '^(t|archived)[0-9]'"
            )
            assert len(found) == 2 * len(ODD)

    asyncio.run(scenario())
