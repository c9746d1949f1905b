"""What was planned is what runs; what changed since is not run. In every format there is."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.domain.plan import Step
from pgstrata.errors import InputChangedError
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from tests import changelogs
from tests.clusters import NativeRig, rig_below
from tests.liquibase import history
from tests.liquibase_runs import LOCAL, request, run, unheard

_Changesets = list[tuple[str, str]]


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "drift") as rig:
        yield rig


def in_xml(changesets: _Changesets) -> str:
    return changelogs.xml(
        *(changelogs.changeset(name, f"<sql>{sql}</sql>") for name, sql in changesets)
    )


def in_json(changesets: _Changesets) -> str:
    """JSON, which is YAML, too."""
    entries = [
        {"changeSet": {"id": name, "author": "ada", "changes": [{"sql": {"sql": sql}}]}}
        for name, sql in changesets
    ]
    return json.dumps({"databaseChangeLog": entries})


def in_sql(changesets: _Changesets) -> str:
    head = "--liquibase formatted sql\n"
    return head + "".join(f"--changeset ada:{name}\n{sql};\n" for name, sql in changesets)


FORMATS = {"d.sql": in_sql, "b.yaml": in_json, "a.xml": in_xml, "c.json": in_json}
"""In the order they are included in, which is no other order."""


def write(directory: Path, *names: str, says: str = "planned") -> None:
    """Write changelogs of two changesets each, the second of which ``says`` something."""
    for name in names:
        changesets = [("2", "select 2"), ("1", f"select '{says}'")]
        changelogs.write(directory, {name: FORMATS[name](changesets)})


async def planned(kind: LiquibaseKind, directory: Path) -> tuple[Step, ...]:
    write(directory, *FORMATS)
    includes = (f'<include file="{name}"/>' for name in FORMATS)
    changelogs.write(directory, {"master.xml": changelogs.xml(*includes)})
    return await kind.steps(request(directory, "update", "--changelog-file=master.xml"), LOCAL)


def test_what_was_planned_is_what_runs_in_that_order(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    async def scenario() -> None:
        async with rig.serving() as server:
            steps = await planned(kind, work)
            keys = [(step.changeset_path, step.changeset_id) for step in steps]
            assert keys == [(name, number) for name in FORMATS for number in ("2", "1")]
            said = await run(rig, kind, server, steps)
            assert [line for line in said if line.startswith("Running ")] == [
                f"Running Changeset: {path}::{number}::ada" for path, number in keys
            ]
            ran = [(row[2], row[0]) for row in history(server.endpoint.dsn)]
            assert ran == keys

    runner.run(scenario())


def test_what_changed_since_its_plan_is_named_and_not_run(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    async def scenario() -> None:
        async with rig.serving() as server:
            steps = await planned(kind, work)
            write(work, *FORMATS, says="changed")
            # A Java that read the files when they were planned would run what it read.
            await kind.close()
            for name in FORMATS:
                same, changed = (step for step in steps if step.changeset_path == name)
                with pytest.raises(InputChangedError, match=name):
                    await LOCAL.check_unchanged(changed.inputs)
                await kind.execute(same, LOCAL, server, rig.runtime, unheard)
                with pytest.raises(InputChangedError, match=f"{name}::1::ada changed"):
                    await kind.execute(changed, LOCAL, server, rig.runtime, unheard)
            changelogs.write(work, {"c.json": "{"})
            with pytest.raises(InputChangedError, match=r"master\.xml") as failed:
                await kind.execute(steps[1], LOCAL, server, rig.runtime, unheard)
            assert "c.json" in (failed.value.details or "")
            ran = [(row[2], row[0]) for row in history(server.endpoint.dsn)]
            assert ran == [(name, "2") for name in FORMATS]

    runner.run(scenario())
