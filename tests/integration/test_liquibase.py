"""Changelogs run step by step on a real server, against one plain ``update`` of them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from msgspec.structs import replace

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.errors import (
    InputChangedError,
    InvalidArgumentError,
    StepFailedError,
    StepInterruptedError,
)
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from tests import changelogs
from tests.clusters import NativeRig, rig_below
from tests.liquibase import history, jhipster
from tests.liquibase_runs import LOCAL, compare, javas, liquibase, request, run, unheard


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "liquibase") as rig:
        yield rig


def test_a_real_changelog_comes_to_what_a_plain_update_comes_to(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path, tmp_path: Path
) -> None:
    words = (
        *("update", "--changelog-file=config/liquibase/master.xml", "--contexts=test,faker"),
        f"--search-path={jhipster()}",
    )
    assert compare(runner, kind, rig, work, tmp_path, *words) == 12


@pytest.mark.parametrize(
    "words",
    [
        ("update", "--contexts=prod", "--labels=!late"),
        ("update-count", "--count=9"),
        pytest.param(("update-to-tag", "--tag=v0"), marks=pytest.mark.slow),
    ],
    ids=lambda words: words[0] + words[1],
)
def test_a_changelog_with_everything_comes_to_what_a_plain_run_comes_to(
    rig: NativeRig,
    runner: asyncio.Runner,
    kind: LiquibaseKind,
    work: Path,
    tmp_path: Path,
    words: tuple[str, ...],
) -> None:
    master = changelogs.mixed(work)
    assert compare(runner, kind, rig, work, tmp_path, *words, f"--changelog-file={master}") > 8


@pytest.mark.slow
def test_a_long_changelog_comes_to_what_a_plain_update_comes_to(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path, tmp_path: Path
) -> None:
    master = changelogs.mixed(work, 144)
    words = ("update", "--contexts=test", "-Dkind=given", f"--changelog-file={master}")
    assert compare(runner, kind, rig, work, tmp_path, *words) > 150


# What a state is named by


def digests(steps: tuple[Step, ...]) -> list[str]:
    return [step.digest for step in steps]


Planned = Callable[..., list[tuple[Step, ...]]]


@pytest.fixture
def planned(runner: asyncio.Runner, kind: LiquibaseKind, work: Path) -> Planned:
    """The steps after each edit: files written, or words in place of the last."""

    async def scenario(*edits: dict[str, str] | tuple[str, ...]) -> list[tuple[Step, ...]]:
        found = []
        given: tuple[str, ...] = ()
        for edit in edits:
            if isinstance(edit, dict):
                changelogs.write(work, edit)
            else:
                given = edit
            asked = request(work, "update", "--changelog-file=a.xml", *given)
            found.append(await kind.steps(asked, LOCAL))
        return found

    return lambda *edits: runner.run(scenario(*edits))


def one(number: int, sql: str = "select 1", more: str = "") -> str:
    return changelogs.changeset(number, f"<sql>{sql}</sql>", more=more)


def test_a_changeset_more_is_one_step_more_and_a_changed_one_changes_its_own(
    planned: Planned,
) -> None:
    before, longer, changed, commented = planned(
        {"a.xml": changelogs.xml(one(1), one(2))},
        {"a.xml": changelogs.xml(one(1), one(2), one(3))},
        {"a.xml": changelogs.xml(one(1, "select 2"), one(2), one(3))},
        {"a.xml": changelogs.xml(one(1, "select 2"), "<!-- why -->", one(2), one(3))},
    )
    assert digests(longer)[:2] == digests(before)
    assert len(longer) == 3
    assert digests(changed)[0] != digests(longer)[0]
    assert digests(changed)[1:] == digests(longer)[1:]
    assert digests(commented) == digests(changed)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (one(1, "select 'a b'"), one(1, "select 'a  b'")),
        (one(1), one(1, more='runInTransaction="false"')),
        (one(1), one(1, more='failOnError="false"')),
        (one(1), changelogs.changeset(1, '<sql splitStatements="false">select 1</sql>')),
        (one(1), changelogs.changeset(1, "<comment>why</comment>", "<sql>select 1</sql>")),
        (one(1), one(1, more='labels="x"')),
        (
            one(1),
            changelogs.changeset(
                1,
                '<preConditions onFail="MARK_RAN"><tableExists tableName="t"/></preConditions>',
                "<sql>select 1</sql>",
            ),
        ),
        (
            one(1),
            changelogs.changeset(
                1, "<sql>select 1</sql>", '<modifySql><append value=" "/></modifySql>'
            ),
        ),
    ],
    ids=[
        "space in a literal",
        "transaction",
        "fail",
        "split",
        "comment",
        "labels",
        "pre",
        "modify",
    ],
)
def test_whatever_liquibases_checksum_leaves_out_counts(
    planned: Planned, before: str, after: str
) -> None:
    [old], [new] = planned({"a.xml": changelogs.xml(before)}, {"a.xml": changelogs.xml(after)})
    assert old.digest != new.digest


def test_files_that_a_changeset_reads_count_wherever_they_are_named_from(planned: Planned) -> None:
    reading = (
        '<include file="sub/b.xml"/>',
        changelogs.changeset(1, '<sqlFile path="sub/f.sql"/>'),
    )
    inner = changelogs.xml(
        changelogs.changeset(
            2, '<loadData file="rows.csv" relativeToChangelogFile="true" tableName="t"/>'
        ),
        changelogs.changeset(
            3, '<insert tableName="t"><column name="b" valueBlobFile="sub/blob"/></insert>'
        ),
        changelogs.changeset(
            4,
            '<createProcedure path="p.sql" relativeToChangelogFile="true" procedureName="p"/>',
        ),
    )
    first, *others = planned(
        {
            "a.xml": changelogs.xml(*reading),
            "sub/b.xml": inner,
            "sub/f.sql": "select 1",
            "sub/rows.csv": "id\n1\n",
            "sub/blob": "blob",
            "sub/p.sql": "create procedure p() language sql as 'select 1'",
        },
        {"sub/rows.csv": "id\n2\n"},
        {"sub/blob": "blub"},
        {"sub/p.sql": "create procedure p() language sql as 'select 2'"},
        {"sub/f.sql": "select  1"},
    )
    assert [step.changeset_id for step in first] == ["2", "3", "4", "1"]
    before = digests(first)
    for number, steps in enumerate(others):
        after = digests(steps)
        assert [index for index in range(4) if after[index] != before[index]] == [number]
        before = after
    assert {Path(one.name).name for one in first[0].inputs} == {"b.xml", "rows.csv"}


def test_what_is_included_as_spring_names_it_is_an_input_of_its_steps(
    planned: Planned, work: Path
) -> None:
    [before], [after] = planned(
        {
            "a.xml": changelogs.xml('<include file="classpath:/db/b.xml"/>'),
            "db/b.xml": changelogs.xml(one(1)),
        },
        {"db/b.xml": changelogs.xml(one(1, "select 2"))},
    )
    assert [Path(each.name) for each in before.inputs] == [work / "db" / "b.xml"]
    assert before.inputs[0].digest != after.inputs[0].digest
    assert before.digest != after.digest
    assert before.changeset_path == "db/b.xml"


def test_a_file_added_to_a_directory_that_is_included_is_seen(planned: Planned) -> None:
    head = "--liquibase formatted sql\n--changeset eve:"
    before, after = planned(
        {"a.xml": changelogs.xml('<includeAll path="all"/>'), "all/1.sql": f"{head}1\nselect 1;"},
        {"all/2.sql": f"{head}2\nselect 2;"},
    )
    assert len(before) == 1
    assert len(after) == 2
    assert digests(after)[0] == digests(before)[0]


def test_contexts_labels_and_parameters_make_other_chains_only_where_they_matter(
    planned: Planned,
) -> None:
    changelog = changelogs.xml(
        one(1),
        one(2, more='contextFilter="test"'),
        one(3, "select '${p}'"),
        one(4, more='labels="l"'),
    )
    everything, test, other, labelled, given = planned(
        {"a.xml": changelog},
        ("--contexts=test",),
        ("--contexts=prod",),
        ("--contexts=prod", "--labels=none"),
        ("--contexts=test", "-Dp=v"),
    )
    assert digests(everything) == digests(test)
    assert [step.changeset_id for step in other] == ["1", "3", "4"]
    assert [step.changeset_id for step in labelled] == ["1", "2", "3"][::2]
    changed = [a.changeset_id for a, b in zip(test, given, strict=True) if a.digest != b.digest]
    assert changed == ["3"]


def test_variables_of_the_request_are_substituted_and_ours_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "secret")
    changelogs.write(
        tmp_path, {"a.xml": changelogs.xml(one(1, "select '${STAGE}'"), one(2, "select '${OURS}'"))}
    )

    async def scenario() -> list[tuple[Step, ...]]:
        asked = request(tmp_path, "update", "--changelog-file=a.xml")
        async with liquibase() as kind:
            return [
                await kind.steps(
                    replace(asked, fields={**asked.fields, "liquibase_env": env}), LOCAL
                )
                for env in ({"STAGE": "dev"}, {"STAGE": "live"}, {"STAGE": "dev", "OTHER": "x"})
            ]

    dev, live, more = asyncio.run(scenario())
    assert digests(dev)[0] != digests(live)[0]
    assert digests(dev)[1] == digests(live)[1]
    assert digests(more) == digests(dev)


def test_an_empty_changelog_is_one_step_that_makes_liquibases_tables(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path, tmp_path: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1, more='dbms="mysql"'))})
    words = ("update", "--changelog-file=a.xml")
    assert compare(runner, kind, rig, work, tmp_path, *words) == 1


def test_what_a_function_sets_and_nobody_can_tell_is_told(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    function = (
        "create function f() returns text language sql as "
        "'select set_config(''work_mem'', ''6MB'', false)'"
    )
    changelogs.write(
        work,
        {
            "a.xml": changelogs.xml(
                one(1, function),
                one(2, "select f()"),
                one(3),
            )
        },
    )

    async def scenario() -> None:
        async with rig.serving() as server:
            steps = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            await run(rig, kind, server, steps)

    with pytest.raises(StepFailedError, match=r"a\.xml::2::ada sets work_mem"):
        runner.run(scenario())


def test_what_one_changeset_leaves_for_another_makes_them_one_step(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path, tmp_path: Path
) -> None:
    changelogs.write(
        work,
        {
            "a.xml": changelogs.xml(
                one(1, "set intervalstyle = iso_8601; create temp table gone as select 5 as a"),
                one(2, "create table kept as select * from gone"),
                one(3, "create table at as select interval '1 day'::text as i"),
            )
        },
    )
    words = ("update", "--changelog-file=a.xml")
    assert compare(runner, kind, rig, work, tmp_path, *words) == 2


def test_what_a_changeset_writes_into_the_history_is_read_before_the_next(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    """So that a step comes to the same, whether it follows at once or on another day."""
    changelogs.write(
        work,
        {
            "a.xml": changelogs.xml(
                one(1),
                one(2, "create function f() returns void language sql as "
                "'update databasechangelog set id = ''3''; delete from databasechangelog "
                "where orderexecuted = 2'"),
                one(4, "select f()"),
                one(3),
                one(5),
            )
        },
    )  # fmt: skip

    async def scenario() -> None:
        async with rig.serving() as together, rig.serving() as apart:
            steps = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            await run(rig, kind, together, steps)
            for number, step in enumerate(steps):
                await run(rig, kind, replace(apart, handle=str(number)), (step,))
            found = history(together.endpoint.dsn)
            assert found == history(apart.endpoint.dsn)
            assert [row[0] for row in found] == ["3", "4", "5"]

    runner.run(scenario())


# What goes wrong


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<databaseChangeLog>", "a.xml"),
        (changelogs.xml('<include file="none.xml"/>'), "none.xml"),
        (changelogs.xml(one(1), one(1)), "1 changesets had duplicate identifiers"),
        (changelogs.xml(changelogs.changeset(1, "<createTable/>")), "'tableName' must appear"),
        (
            changelogs.xml(changelogs.changeset(1, '<customChange class="com.example.Gone"/>')),
            "there is no class com.example.Gone",
        ),
        (
            changelogs.xml(changelogs.changeset(1, '<executeCommand executable="date"/>')),
            "executeCommand runs a program",
        ),
        (
            changelogs.xml(one(1, "select ${database.databaseMajorVersion}")),
            "the server's version is used",
        ),
    ],
    ids=["xml", "include", "duplicate", "invalid", "class", "command", "version"],
)
def test_a_changelog_that_cannot_be_prepared_is_refused_by_what_is_wrong(
    planned: Planned, text: str, said: str
) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        planned({"a.xml": text})
    assert said in f"{refused.value.message}\n{refused.value.details}"
    assert "\n" not in refused.value.message
    assert refused.value.remedy


def test_a_failing_changeset_is_told_with_its_statement_and_postgresqls_message(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1), one(2, "select * from nope"))})

    async def scenario() -> None:
        async with rig.serving() as server:
            steps = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            await run(rig, kind, server, steps)

    with pytest.raises(StepFailedError) as failed:
        runner.run(scenario())
    assert failed.value.message == 'a.xml::2::ada: ERROR: relation "nope" does not exist'
    assert "[Failed SQL: (0) select * from nope]" in (failed.value.details or "")


def test_the_changelogs_own_preconditions_are_checked_before_its_first_changeset(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    condition = '<preConditions><tableExists tableName="nope"/></preConditions>'
    changelogs.write(work, {"a.xml": changelogs.xml(condition, one(1))})

    async def scenario() -> None:
        async with rig.serving() as server:
            steps = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            await run(rig, kind, server, steps)

    with pytest.raises(StepFailedError, match=r"nope does not exist|precondition") as failed:
        runner.run(scenario())
    assert "nope" in (failed.value.details or "")


def test_liquibases_words_arrive_with_the_step_that_made_them(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1), one(2))})

    async def scenario() -> list[list[str]]:
        async with rig.serving() as server:
            steps = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            return [await run(rig, kind, server, (step,)) for step in steps]

    first, second = runner.run(scenario())
    assert "Running Changeset: a.xml::1::ada" in first
    assert any("a.xml::1::ada ran successfully" in line for line in first)
    assert any("a.xml::2::ada ran successfully" in line for line in second)
    assert not any("::1::" in line for line in second)


def test_a_server_that_was_stopped_since_the_last_step_is_not_told_of(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1), one(2))})

    async def scenario() -> list[str]:
        steps = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
        data_dir = rig.cluster()
        for step in steps:
            async with rig.serving(data_dir) as server:
                said = await run(rig, kind, server, (step,))
        return said

    said = runner.run(scenario())
    assert "Running Changeset: a.xml::2::ada" in said
    assert [line for line in said if not line.startswith(("INFO ", "Running "))] == []


# The Java


def test_one_java_serves_a_plan_and_all_its_steps(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(*map(one, range(1, 6)))})

    async def scenario() -> None:
        async with rig.serving() as server:
            steps = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            [pid] = javas()
            await run(rig, kind, server, steps)
            assert javas() == [pid]
        await kind.close()
        assert not psutil.pid_exists(pid)

    runner.run(scenario())


def test_the_same_again_needs_no_java(
    runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1))})

    async def scenario() -> None:
        asked = request(work, "update", "--changelog-file=a.xml")
        steps = await kind.steps(asked, LOCAL)
        await kind.close()
        assert await kind.steps(asked, LOCAL) == steps
        assert javas() == []

    runner.run(scenario())


def test_a_java_that_was_killed_is_replaced_and_runs_what_was_planned(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1), one(2))})

    async def scenario() -> None:
        async with rig.serving() as server:
            first, second = await kind.steps(
                request(work, "update", "--changelog-file=a.xml"), LOCAL
            )
            await run(rig, kind, server, (first,))
            [pid] = javas()
            await killed(pid)
            await run(rig, kind, server, (second,))
            assert [row[0] for row in history(server.endpoint.dsn)] == ["1", "2"]

    runner.run(scenario())


def test_a_changeset_that_changed_since_its_plan_is_not_run(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1))})

    async def scenario() -> None:
        async with rig.serving() as server:
            steps = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            changelogs.write(work, {"a.xml": changelogs.xml(one(1, "select 2"))})
            await kind.close()
            with pytest.raises(InputChangedError, match=r"a\.xml::1::ada"):
                await kind.execute(steps[0], LOCAL, server, rig.runtime, unheard)

    runner.run(scenario())


def test_a_killed_java_interrupts_the_step_it_ran(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1, "select pg_sleep(600)"))})

    async def scenario() -> None:
        async with rig.serving() as server:
            [step] = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            [pid] = javas()
            running = asyncio.create_task(execution(rig, kind, server, step))
            await sleeping(rig, server)
            await killed(pid)
            with pytest.raises(StepInterruptedError, match="Java"):
                await running

    runner.run(scenario())


def test_a_cancelled_step_leaves_no_java(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1, "select pg_sleep(600)"))})

    async def scenario() -> None:
        async with rig.serving() as server:
            [step] = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            [pid] = javas()
            java = psutil.Process(pid)
            running = asyncio.create_task(execution(rig, kind, server, step))
            await sleeping(rig, server)
            running.cancel()
            await asyncio.to_thread(java.wait, 300)
            with pytest.raises(asyncio.CancelledError):
                await running

    runner.run(scenario())


def test_a_server_that_is_killed_fails_the_step_it_ran(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path
) -> None:
    changelogs.write(work, {"a.xml": changelogs.xml(one(1, "select pg_sleep(600)"))})

    async def scenario() -> None:
        async with rig.serving() as server:
            [step] = await kind.steps(request(work, "update", "--changelog-file=a.xml"), LOCAL)
            running = asyncio.create_task(execution(rig, kind, server, step))
            await sleeping(rig, server)
            await asyncio.to_thread(rig.kill, server)
            with pytest.raises(StepFailedError, match=r"a\.xml::1::ada"):
                await running

    runner.run(scenario())


async def execution(rig: NativeRig, kind: LiquibaseKind, server: Server, step: Step) -> None:
    await kind.execute(step, LOCAL, server, rig.runtime, unheard)


async def sleeping(rig: NativeRig, server: Server) -> None:
    """Wait until the changeset's statement is being carried out."""
    await asyncio.to_thread(wait_for_statement, server.endpoint.dsn, "%pg_sleep(600)%")


def wait_for_statement(dsn: str, pattern: str) -> None:
    query = "select from pg_stat_activity where query like %s and pid <> pg_backend_pid()"
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not connection.execute(query, (pattern,)).fetchall():
            """Ask again."""


async def killed(pid: int) -> None:
    """Kill a process and wait for its end."""
    process = psutil.Process(pid)
    process.kill()
    await asyncio.to_thread(process.wait, 300)
