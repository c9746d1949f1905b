"""A state is what its name says, whatever anybody does meanwhile to the files it is made of."""

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path, PurePath

import psycopg
import pytest

from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InputChangedError, InvalidArgumentError
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.psql.running import PsqlRunner
from pgstrata.kinds.sources.base import Seen
from pgstrata.kinds.sources.local import LocalTree
from tests import changelogs
from tests.clusters import NativeRig, rig_below
from tests.liquibase import liquibase_home
from tests.liquibase_runs import LOCAL, liquibase, request, unheard

Act = Callable[[Path], None]


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "identity") as rig:
        yield rig


def gate(number: int) -> str:
    """A statement that waits until it is let through."""
    return f"select pg_advisory_lock({number}), pg_advisory_unlock({number})"


@asynccontextmanager
async def acting(dsn: str, act: Callable[[], None]) -> AsyncIterator[None]:
    """Do something when a step has come to its first gate, and again when it is at its second."""
    over = threading.Event()

    def attend() -> None:
        waiting = "select count(*) from pg_locks where not granted and locktype = 'advisory'"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(1), pg_advisory_lock(2)")
            closed.set()
            for number in (1, 2):
                while connection.execute(waiting).fetchone() == (0,):
                    if over.is_set():
                        return
                act()
                connection.execute("select pg_advisory_unlock(%s)", [number])

    closed = threading.Event()
    attending = asyncio.create_task(asyncio.to_thread(attend))
    await asyncio.to_thread(closed.wait)
    try:
        yield
    finally:
        over.set()
        await attending


def exchange_link(work: Path) -> None:
    other = "theirs" if (work / "data").readlink() == Path("ours") else "ours"
    (work / "new").symlink_to(other)
    (work / "new").rename(work / "data")


def exchange_directories(work: Path) -> None:
    (work / "ours").rename(work / "aside")
    (work / "theirs").rename(work / "ours")
    (work / "aside").rename(work / "theirs")


exchanges = pytest.mark.parametrize("exchange", [exchange_link, exchange_directories])


def psql(work: Path, *words: str) -> PrepareRequest:
    return PrepareRequest(
        prepare_kind="psql",
        image_id="postgres",
        work_dir=str(work),
        fields={"psql_args": list(words)},
    )


READING = (
    r"\i data/a",
    r"\ir data/a",
    r"\copy t from 'data/a' delimiter '/'",
    r"\lo_import data/a",
)


@exchanges
def test_a_script_whose_files_are_exchanged_as_it_runs_and_put_back_fails(
    rig: NativeRig, tmp_path: Path, exchange: Act
) -> None:
    changelogs.write(tmp_path, {f"{name}/a": f"--{name}\n" for name in ("ours", "theirs")})
    (tmp_path / "data").symlink_to("ours")
    for number, reading in enumerate(READING):
        table = "drop table if exists t; create table t (x text);"
        script = (table, f"{gate(1)};", reading, f"{gate(2)};")
        changelogs.write(tmp_path, {f"{number}.sql": "\n".join(script)})
    names = [word for number in range(len(READING)) for word in ("-f", f"{number}.sql")]

    async def scenario() -> None:
        async with rig.serving() as server:
            for step in await PsqlRecipe().steps(psql(tmp_path, *names), LOCAL):
                async with acting(server.endpoint.dsn, lambda: exchange(tmp_path)):
                    with pytest.raises(InputChangedError, match="data/a changed") as failed:
                        async with LOCAL.hold(step.inputs) as held:
                            await PsqlRunner().execute(step, held, server, rig.runtime, unheard)
                assert "for a moment" in (failed.value.details or "")

    asyncio.run(scenario())


LOADING = {
    "a.csv": '<loadData tableName="t" file="data/a.csv" relativeToChangelogFile="true"/>',
    "b.csv": '<loadData tableName="t" file="data/b.csv"/>',
    "a.sql": '<sqlFile path="data/a.sql"/>',
    "b.sql": '<sqlFile path="data/b.sql" relativeToChangelogFile="true"/>',
}


@exchanges
def test_a_changeset_whose_files_are_exchanged_as_it_runs_and_put_back_fails(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path, exchange: Act
) -> None:
    (work / "data").symlink_to("ours")
    changesets = [changelogs.changeset("t", "<sql>create table t (x text)</sql>")]
    for name, loading in LOADING.items():
        for directory in ("ours", "theirs"):
            text = f"x\n{directory}" if "csv" in name else f"select '{directory}'"
            changelogs.write(work / directory, {name: text})
        changes = (f"<sql>{gate(1)}</sql>", loading, f"<sql>{gate(2)}</sql>")
        changesets.append(changelogs.changeset(name, *changes))
    changelogs.write(work, {"main.xml": changelogs.xml(*changesets)})

    async def scenario() -> None:
        async with rig.serving() as server:
            wanted = request(work, "update", "--changelog-file=main.xml")
            first, *steps = await kind.steps(wanted, LOCAL)
            await kind.execute(first, LOCAL, server, rig.runtime, unheard)
            for step in steps:
                async with acting(server.endpoint.dsn, lambda: exchange(work)):
                    with pytest.raises(InputChangedError, match=f"data/{step.changeset_id} chang"):
                        async with LOCAL.hold(step.inputs) as held:
                            await kind.execute(step, held, server, rig.runtime, unheard)

    runner.run(scenario())


def exchange_jar(jar: Path) -> None:
    before = jar.read_bytes()
    jar.write_bytes(before[:-1])
    jar.write_bytes(before)


def add_jar(jar: Path) -> None:
    jar.with_name("more.jar").write_bytes(jar.read_bytes())
    jar.with_name("more.jar").unlink()


def test_a_changeset_whose_jars_are_touched_as_it_runs_fails(
    rig: NativeRig, tmp_path: Path
) -> None:
    changeset = changelogs.changeset(1, f"<sql>{gate(1)}; {gate(2)}</sql>")
    changelogs.write(tmp_path, {"main.xml": changelogs.xml(changeset)})
    jar = tmp_path / "jars" / "own.jar"
    jar.parent.mkdir()
    jar.write_bytes(next(liquibase_home().glob("commons-io*.jar")).read_bytes())

    async def scenario() -> None:
        async with liquibase(jars=(jar.parent,)) as kind:
            wanted = request(tmp_path, "update", "--changelog-file=main.xml")
            [step] = await kind.steps(wanted, LOCAL)
            for touch in (exchange_jar, add_jar):
                async with (
                    rig.serving() as server,
                    acting(server.endpoint.dsn, partial(touch, jar)),
                ):
                    with pytest.raises(
                        InputChangedError, match="its jars or Java changed"
                    ) as failed:
                        await kind.execute(step, LOCAL, server, rig.runtime, unheard)
                assert f"{jar.parent}/" in (failed.value.details or "")
                assert await kind.steps(wanted, LOCAL) == (step,)
            async with rig.serving() as server:
                await kind.execute(step, LOCAL, server, rig.runtime, unheard)

    asyncio.run(scenario())


def test_two_dumps_of_a_database_are_one_state_and_run_with_their_keys(
    rig: NativeRig, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.serving() as server:
            pg_dump = (await rig.runtime.installations())[0].bin_dir / "pg_dump"
            dumps = [dump(pg_dump, server.endpoint.dsn) for _ in range(2)]
            assert all("\\unrestrict " in one for one in dumps)
            assert dumps[0] != dumps[1]
            recipe = PsqlRecipe()
            changelogs.write(tmp_path, {f"{n}.sql": one for n, one in enumerate(dumps)})
            steps = await recipe.steps(psql(tmp_path, "-f", "0.sql", "-f", "1.sql"), LOCAL)
            assert steps[0].digest == steps[1].digest
            for step in steps:
                await PsqlRunner().execute(step, LOCAL, server, rig.runtime, unheard)

    def dump(pg_dump: Path, dsn: str) -> str:
        return subprocess.run([pg_dump, dsn], check=True, capture_output=True, text=True).stdout

    asyncio.run(scenario())


class Exchanged(LocalTree):
    """Another directory's files are there from the first look at one until they are compared."""

    def __init__(self, work: Path, exchange: Act) -> None:
        super().__init__()
        self._exchange = partial(exchange, work)
        self._away = False

    def look(self, path: PurePath) -> Seen:
        seen = super().look(path)
        if path.name == "a.sql" and not self._away:
            self._away = True
            self._exchange()
        return seen

    def first_touched(self, seen: Sequence[Seen]) -> Seen | None:
        if self._away:
            self._away = False
            self._exchange()
        return super().first_touched(seen)


@exchanges
def test_a_changelog_whose_files_are_exchanged_as_it_is_planned_and_put_back_is_not_planned(
    runner: asyncio.Runner, kind: LiquibaseKind, work: Path, exchange: Act
) -> None:
    changelogs.write(work, {f"{name}/a.sql": f"select '{name}'" for name in ("ours", "theirs")})
    (work / "data").symlink_to("ours")
    loading = changelogs.changeset(1, '<sqlFile path="data/a.sql"/>')
    changelogs.write(work, {"main.xml": changelogs.xml(loading)})
    wanted = request(work, "update", "--changelog-file=main.xml")
    with pytest.raises(InvalidArgumentError, match="does not stop changing"):
        runner.run(kind.steps(wanted, Exchanged(work, exchange)))


KERNELS = ["/proc/version", "/proc/self/status", "/sys/kernel/uevent_seqnum"]


@pytest.mark.parametrize("path", KERNELS)
@pytest.mark.parametrize("reading", [r"\i '{}'", r"\copy t from '{}'", r"\lo_import '{}'"])
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "link"])
def test_what_the_kernel_makes_up_is_no_input_of_a_script(
    tmp_path: Path, path: str, reading: str, linked: bool
) -> None:
    (tmp_path / "link").symlink_to(path)
    name = str(tmp_path / "link") if linked else path
    with pytest.raises(InvalidArgumentError, match="made up by the kernel") as refused:
        asyncio.run(PsqlRecipe().steps(psql(tmp_path, "-c", reading.format(name)), LOCAL))
    assert name in refused.value.message
    assert refused.value.remedy


@pytest.mark.parametrize(
    "change", [changelogs.changeset(1, '<sqlFile path="status.sql"/>'), '<includeAll path="all"/>']
)
def test_what_the_kernel_makes_up_is_no_input_of_a_changelog(
    runner: asyncio.Runner, kind: LiquibaseKind, work: Path, change: str
) -> None:
    (work / "status.sql").symlink_to("/proc/self/status")
    (work / "all").symlink_to("/proc/sys/fs/inotify")
    changelogs.write(work, {"main.xml": changelogs.xml(change)})
    with pytest.raises(InvalidArgumentError) as refused:
        runner.run(kind.steps(request(work, "update", "--changelog-file=main.xml"), LOCAL))
    assert "made up by the kernel" in f"{refused.value.message} {refused.value.details}"
