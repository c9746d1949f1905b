"""Recipes whose files are not where their paths say: in memory, or below a directory."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InputChangedError, InvalidArgumentError, StepFailedError
from pgstrata.kinds.base import Kind, RunnerSide
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.psql.running import PsqlRunner
from pgstrata.kinds.sources.base import Sources
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.sources.memory import MemorySources
from tests import changelogs
from tests.clusters import NativeRig, rig_below
from tests.liquibase_runs import liquibase, request, rows, unheard

TREE = {
    "main.sql": "\\i tables/book.sql\n\\copy book from 'data/books.csv' csv\n\\cd data\n"
    "\\copy book from more.csv csv\n",
    "tables/book.sql": "create table book (id int, title text);\n\\ir ../views/titles.sql\n",
    "views/titles.sql": "create view titles as select title from book;\n",
    "data/books.csv": "1,one\n2,two\n",
    "data/more.csv": "3,three\n",
    "unused.sql": "select nonsense;\n",
}
PSQL = Kind(PsqlRecipe(), PsqlRunner())


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "afar") as rig:
        yield rig


def in_memory(_directory: Path, tree: dict[str, str]) -> Sources:
    return MemorySources({f"/app/{name}": text.encode() for name, text in tree.items()})


def below_a_directory(directory: Path, tree: dict[str, str]) -> Sources:
    changelogs.write(directory / "app", tree)
    return LocalTree(directory)


Maker = Callable[[Path, dict[str, str]], Sources]


def psql_request(*words: str) -> PrepareRequest:
    return PrepareRequest(
        prepare_kind="psql", image_id="postgres", work_dir="/app", fields={"psql_args": words}
    )


async def run(
    rig: NativeRig, runner: RunnerSide, server: Server, sources: Sources, steps: tuple[Step, ...]
) -> None:
    for step in steps:
        async with sources.hold(step.inputs) as held:
            await runner.execute(step, held, server, rig.runtime, unheard)


@pytest.mark.parametrize("make", [in_memory, below_a_directory])
def test_psql_reads_scripts_and_data_from_afar(rig: NativeRig, tmp_path: Path, make: Maker) -> None:
    async def scenario() -> None:
        sources = make(tmp_path, TREE)
        words = ("-f", "main.sql", "-c", "\\i data/../unused2.sql")
        with pytest.raises(InvalidArgumentError, match=r"unused2\.sql does not exist"):
            await PSQL.recipe.steps(psql_request(*words), sources)
        asked = psql_request("-f", "main.sql", "-c", "\\copy book from data/more.csv csv")
        steps = await PSQL.recipe.steps(asked, sources)
        assert sorted(one.name for one in steps[0].inputs) == [
            f"/app/{name}" for name in sorted(TREE.keys() - {"unused.sql"})
        ]
        async with rig.serving() as server:
            await run(rig, PSQL.runner, server, sources, steps)
            titles = rows(rig, server, "select title from titles order by 1")
            assert titles == [("one",), ("three",), ("three",), ("two",)]

    asyncio.run(scenario())


@pytest.mark.parametrize("make", [in_memory, below_a_directory])
def test_a_failure_is_told_with_the_script_s_name_and_line(
    rig: NativeRig, tmp_path: Path, make: Maker
) -> None:
    async def scenario() -> StepFailedError:
        sources = make(tmp_path, TREE)
        steps = await PSQL.recipe.steps(psql_request("-f", "unused.sql"), sources)
        async with rig.serving() as server:
            with pytest.raises(StepFailedError) as failed:
                await run(rig, PSQL.runner, server, sources, steps)
            return failed.value

    assert "app/unused.sql:1: ERROR:" in asyncio.run(scenario()).message


def test_liquibase_reads_a_changelog_below_a_directory(rig: NativeRig, tmp_path: Path) -> None:
    tree = {
        "a.xml": changelogs.xml(
            changelogs.changeset(1, '<sqlFile path="sql/one.sql"/>'), '<includeAll path="more"/>'
        ),
        "sql/one.sql": "create table t (a int);",
        "more/b.sql": "--liquibase formatted sql\n--changeset ada:2\ninsert into t values (7);\n",
    }

    async def scenario() -> None:
        sources = below_a_directory(tmp_path, tree)
        asked = request(Path("/app"), "update", "--changelog-file=a.xml")
        async with liquibase() as planning, liquibase() as elsewhere, rig.serving() as server:
            steps = await planning.steps(asked, sources)
            here = await planning.steps(
                request(tmp_path / "app", "update", "--changelog-file=a.xml"), LocalTree()
            )
            assert [step.digest for step in steps] == [step.digest for step in here]
            # One whose Java has not parsed it, as on another machine.
            await run(rig, elsewhere, server, sources, steps)
            assert rows(rig, server, "select a from t") == [(7,)]
            changelogs.write(tmp_path / "app", {"sql/one.sql": "select 1"})
            with pytest.raises(InputChangedError, match=r"/app/sql/one\.sql"):
                await run(rig, elsewhere, server, sources, steps[:1])

    asyncio.run(scenario())


def test_liquibase_refuses_what_no_java_could_read() -> None:
    async def scenario() -> InvalidArgumentError:
        sources = MemorySources({"/app/a.xml": b"<databaseChangeLog/>"})
        async with liquibase() as kind:
            with pytest.raises(InvalidArgumentError) as refused:
                await kind.steps(request(Path("/app"), "update", "--changelog-file=a.xml"), sources)
            return refused.value

    assert "directories of the engine's machine" in asyncio.run(scenario()).message
