"""Changelogs with changes and preconditions of the user's own, compiled here, in ``jars``."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.domain.plan import Step
from pgstrata.errors import InputChangedError, InvalidArgumentError
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from tests import changelogs
from tests.clusters import NativeRig, rig_below
from tests.liquibase import history, launcher
from tests.liquibase_runs import LOCAL, liquibase, request, rows, run, unheard
from tests.own_code import compiled, pack

UPDATE = ("update", "--changelog-file=a.xml")
TABLE = changelogs.changeset(1, "<sql>create table notes (note text)</sql>")


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "own-code") as rig:
        yield rig


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("own"))


def note(number: int, **parameters: str) -> str:
    """A changeset with the user's own change."""
    given = "".join(f'<param name="{key}" value="{value}"/>' for key, value in parameters.items())
    return changelogs.changeset(number, f'<customChange class="own.Note">{given}</customChange>')


def if_noted(number: int, text: str, name: str = "own.Noted") -> str:
    """A changeset with the user's own precondition."""
    return changelogs.changeset(
        number,
        f'<preConditions onFail="MARK_RAN"><customPrecondition className="{name}">'
        f'<param name="text" value="{text}"/></customPrecondition></preConditions>',
        f"<sql>insert into notes values ('there is {text}')</sql>",
    )


def write(directory: Path, *changesets: str, **files: str) -> None:
    changelogs.write(directory, {"a.xml": changelogs.xml(TABLE, *changesets), **files})


def digests(steps: tuple[Step, ...]) -> list[str]:
    return [step.digest for step in steps]


def test_it_runs_and_its_jar_is_part_of_what_a_state_is_named_by(
    rig: NativeRig, tmp_path: Path, classes: Path
) -> None:
    write(tmp_path, note(2), if_noted(3, "one"), if_noted(4, "two"))
    jar = pack(tmp_path / "own.jar", classes, word="one")

    async def scenario() -> None:
        async with liquibase(jars=(jar,)) as kind, rig.serving() as server:
            steps = await kind.steps(request(tmp_path, *UPDATE), LOCAL)
            await run(rig, kind, server, steps)
            assert rows(rig, server, "select note from notes") == [("one",), ("there is one",)]
            ended = [row[4] for row in history(server.endpoint.dsn)]
            assert ended == ["EXECUTED", "EXECUTED", "EXECUTED", "MARK_RAN"]
            assert digests(await kind.steps(request(tmp_path, *UPDATE), LOCAL)) == digests(steps)
            pack(jar, classes, word="two")
            changed = await kind.steps(request(tmp_path, *UPDATE), LOCAL)
            assert not set(digests(changed)) & set(digests(steps))
            with pytest.raises(InputChangedError, match=r"a\.xml::2::ada"):
                await kind.execute(steps[1], LOCAL, server, rig.runtime, unheard)

    asyncio.run(scenario())


def test_a_liquibase_of_ones_own_does_not_run_what_was_planned_with_other_jars(
    tmp_path: Path, classes: Path
) -> None:
    write(tmp_path, note(2))
    jar = pack(tmp_path / "own.jar", classes, word="one")

    async def scenario() -> None:
        async with liquibase(jars=(jar,), exec=launcher(tmp_path)) as kind:
            (step, *_) = await kind.steps(request(tmp_path, *UPDATE), LOCAL)
            await LOCAL.check_unchanged(step.inputs)
            pack(jar, classes, word="two")
            with pytest.raises(InputChangedError, match=str(jar)):
                await LOCAL.check_unchanged(step.inputs)

    asyncio.run(scenario())


def test_without_its_jar_it_is_refused_and_with_it_taken_at_once(
    tmp_path: Path, classes: Path
) -> None:
    jars = tmp_path / "jars"
    jars.mkdir()

    async def refusals(kind: LiquibaseKind) -> list[InvalidArgumentError]:
        found = []
        for changeset in (note(2), if_noted(2, "one")):
            write(tmp_path, changeset)
            with pytest.raises(InvalidArgumentError) as refused:
                await kind.steps(request(tmp_path, *UPDATE), LOCAL)
            found.append(refused.value)
        return found

    async def scenario() -> list[InvalidArgumentError]:
        async with liquibase(jars=(jars,)) as kind:
            refused = await refusals(kind)
            pack(jars / "other.jar", tmp_path / "none", word="nothing of use")
            refused += await refusals(kind)
            pack(jars / "own.jar", classes, word="one")
            assert len(await kind.steps(request(tmp_path, *UPDATE), LOCAL)) == 2
            return refused

    refused = asyncio.run(scenario())
    assert [error.message for error in refused] == [
        "a.xml: there is no class own.Note",
        "a.xml: there is no class own.Noted",
    ] * 2
    assert all("liquibase.jars" in (error.remedy or "") for error in refused)


def test_a_file_it_reads_counts_if_the_changeset_names_it_and_fails_the_step_if_not(
    rig: NativeRig, tmp_path: Path, classes: Path
) -> None:
    write(tmp_path, note(2, noteFile="text"), note(3, place="text"), text="from a file")
    jar = pack(tmp_path / "own.jar", classes, word="one")

    async def scenario() -> InputChangedError:
        async with liquibase(jars=(jar,)) as kind, rig.serving() as server:
            steps = await kind.steps(request(tmp_path, *UPDATE), LOCAL)
            await run(rig, kind, server, steps[:2])
            assert rows(rig, server, "select note from notes") == [("from a file",)]
            with pytest.raises(InputChangedError) as failed:
                await kind.execute(steps[2], LOCAL, server, rig.runtime, unheard)
            changelogs.write(tmp_path, {"text": "another"})
            changed = await kind.steps(request(tmp_path, *UPDATE), LOCAL)
            assert [a == b for a, b in zip(digests(steps), digests(changed), strict=True)] == [
                *(True, False, True)
            ]
            return failed.value

    failed = asyncio.run(scenario())
    assert failed.message == f"a.xml::3::ada reads {tmp_path}/text only as it runs"
    assert "name" in (failed.remedy or "")
    assert "prepare again" not in (failed.remedy or "")
