"""What code of a user's own can do in the Java that runs Liquibase."""

import asyncio
from typing import Any

import pytest

from pgstrata.kinds.liquibase.kind import LiquibaseKind
from tests import changelogs
from tests.clusters import NativeRig
from tests.hostile.cells import ATTACKS, argv, outcome_in
from tests.liquibase import settings
from tests.liquibase_runs import LOCAL, request, rows, run
from tests.own_code import compiled, pack

ALLOWED = {"read what every user may read", "listen on a port of its own choice"}
"""It reads changelogs, and is spoken to by TCP."""

SPYING = changelogs.xml(
    changelogs.changeset(1, "<sql>create table notes (note text)</sql>"),
    changelogs.changeset(2, '<customChange class="own.Spy"/>'),
    changelogs.changeset(3, '<customChange class="own.Spy"/>'),
)


@pytest.fixture(scope="module")
def noted(
    native: NativeRig, there: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> list[list[str]]:
    """What two jobs note, one after the other, with the same changelog."""
    work_dir = tmp_path_factory.mktemp("spying")
    changelogs.write(work_dir, {"a.xml": SPYING})
    jar = pack(work_dir / "own.jar", compiled(work_dir), word="\0".join(argv(there)))

    async def scenario() -> list[list[str]]:
        notes = []
        kind = LiquibaseKind(settings(jars=(jar,)), companions=native.native)
        steps = await kind.steps(request(work_dir, "update", "--changelog-file=a.xml"), LOCAL)
        for _ in range(2):
            async with native.serving() as server:
                await run(native, kind, server, steps)
                notes.append([note for (note,) in rows(native, server, "select note from notes")])
        await kind.close()
        return notes

    return asyncio.run(scenario())


def test_what_one_job_leaves_behind_no_other_finds(noted: list[list[str]]) -> None:
    found = [(first, second) for first, _, second, _ in noted]
    nothing = "nothing, nothing, 0"
    # Within a job it is the same Java.
    assert found == [(nothing, "a field, a property, 1")] * 2


def test_it_is_kept_from_everything_but_its_changelog_and_its_server(
    noted: list[list[str]],
) -> None:
    for _, first, _, second in noted:
        for said in (first, second):
            outcome = outcome_in(said)
            succeeded = {name for name in ATTACKS if outcome[name] == "succeeded"}
            assert succeeded == ALLOWED
