"""What code of a user's own can do in the Java that runs Liquibase."""

import asyncio
from pathlib import Path
from shlex import quote
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from msgspec.structs import replace

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


@pytest.mark.slow
def test_it_may_write_files_in_a_step_that_cannot_be_known(
    native: NativeRig, tmp_path: Path
) -> None:
    written, token = tmp_path / "written", native.native._store / "engine.json"
    token.write_text("a token")
    script = f"cat {quote(str(token))} > {quote(str(written))}; true"
    command = (
        '<executeCommand executable="sh"><arg value="-c"/>'
        f"<arg value={quoteattr(script)}/></executeCommand>"
    )
    changelogs.write(tmp_path, {"a.xml": changelogs.xml(changelogs.changeset(1, command))})

    async def scenario() -> None:
        kind = LiquibaseKind(settings(), companions=native.native)
        asked = request(tmp_path, "update", "--changelog-file=a.xml")
        steps = await kind.steps(replace(asked, uncacheable="run"), LOCAL)
        async with native.serving() as server:
            await run(native, kind, server, steps)
        await kind.close()

    asyncio.run(scenario())
    assert written.read_text() == ""
