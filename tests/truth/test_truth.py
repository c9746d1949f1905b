"""What we make of a recipe is what the plain tool makes of it, or we refuse it."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pgstrata.domain.image import Installation
from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import PgstrataError
from pgstrata.kinds.base import Kind, RunsMany
from pgstrata.kinds.liquibase.installations import Installations
from pgstrata.kinds.liquibase.jvm import Java, Jvm
from pgstrata.kinds.liquibase.plugin import PLUGIN as LIQUIBASE
from pgstrata.kinds.psql.plugin import PLUGIN as PSQL
from pgstrata.runtime.base import Passed
from tests import changelogs
from tests.acceptance.conftest import Terminal
from tests.clusters import NativeRig, exactly, fetched, rig_below
from tests.filesystems import memory_place
from tests.liquibase import launcher, liquibase_home, settings
from tests.liquibase_runs import LOCAL, unheard
from tests.truth import inputs
from tests.truth.inputs import Input
from tests.truth.runs import Engine, FailedError, dump, judge, liquibase_words, plain_psql

_QUICK = "18"
_RESTARTS: dict[str, Callable[[int], bool]] = {
    "13": lambda _: True,
    "15": lambda _: False,
    "18": lambda number: number == 1,
}
"""After which steps the server is started anew on each major, as if the rest were built later."""
_CALLS = 15
"""After so many calls the plain tool is given a new Java: each leaves something in its memory."""
_OWN_TOOL = "15"
"""Where a Liquibase of one's own runs some of them."""

# To look for them takes as long as a small input.
_installed = cache(fetched)
_INPUTS = inputs.everything()
_numbers = count()


class PlainLiquibase:
    """Liquibase's own command line, called again and again in one Java."""

    def __init__(self, loop: asyncio.Runner) -> None:
        self._loop = loop
        self._jvm: Jvm | None = None
        self._said: list[str] = []
        self._calls = 0

    def close(self) -> None:
        """End Java."""
        if self._jvm is not None:
            self._loop.run(self._jvm.close())

    async def run(self, words: list[str]) -> None:
        """One call. Raises ``FailedError``."""
        self._said.clear()
        self._calls += 1
        if self._jvm is not None and self._calls % _CALLS == 0:
            await self._jvm.close()
            self._jvm = None
        if self._jvm is None:
            installations = Installations(settings())
            known = await installations.find(None)
            installations.close()
            self._jvm = Jvm()
            env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
            await self._jvm.start(known.installation, Path("/"), env)
        if await self._jvm.call(lambda java: _called(java, words), self._hear) != 0:
            raise FailedError("\n".join(self._said))

    async def _hear(self, line: str) -> None:
        self._said.append(line)


def _called(java: Java, words: list[str]) -> int:
    given = java("java.lang.reflect.Array").newInstance(
        java("java.lang.Class").forName("java.lang.String"), len(words)
    )
    for number, word in enumerate(words):
        given[number] = word
    line = java("liquibase.integration.commandline.LiquibaseCommandLine")()
    return int(line.execute(given))


def _cases() -> Iterator[Any]:
    for major in _RESTARTS:
        for one in _INPUTS:
            quick = one.quick and major == _QUICK
            marks = () if quick else (pytest.mark.slow,)
            yield pytest.param(major, one, id=f"{major}-{one.name}", marks=marks)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture(scope="module")
def plain(loop: asyncio.Runner) -> Iterator[PlainLiquibase]:
    plain = PlainLiquibase(loop)
    yield plain
    plain.close()


@pytest.fixture(scope="module")
def kinds(loop: asyncio.Runner) -> Iterator[dict[str, Kind]]:
    stack = AsyncExitStack()

    async def opened() -> dict[str, Kind]:
        return {
            "lb": await stack.enter_async_context(LIQUIBASE.open(settings())),
            "psql": await stack.enter_async_context(PSQL.open(None)),
        }

    yield loop.run(opened())
    loop.run(stack.aclose())


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with memory_place() as home:
        shell = Terminal(home)
        shell.work.mkdir()
        shell.environment["PGSTRATA_LIQUIBASE_HOME"] = str(liquibase_home())
        yield Engine(shell)
        shell.tear_down()


@pytest.fixture(scope="module")
def rigs(reachable_dir: Path) -> Iterator[dict[str, NativeRig]]:
    """A place for servers of each major."""
    with ExitStack() as stack:
        yield _Rigs(reachable_dir, stack)


class _Rigs(dict[str, NativeRig]):
    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack

    def __missing__(self, major: str) -> NativeRig:
        made = rig_below(self._directory / f"major-{major}", exactly(_installed(major)))
        self[major] = self._stack.enter_context(made)
        return self[major]


@pytest.mark.parametrize(("major", "one"), list(_cases()))
def test_steps_come_to_what_a_plain_run_comes_to(
    loop: asyncio.Runner,
    plain: PlainLiquibase,
    kinds: dict[str, Kind],
    rigs: dict[str, NativeRig],
    tmp_path: Path,
    record_property: Any,
    major: str,
    one: Input,
) -> None:
    of, rig = _installed(major), rigs[major]
    directory = _written(one, tmp_path / "work")
    tool = str(launcher(tmp_path)) if one.own_tool and major == _OWN_TOOL else None
    expected, why = loop.run(_truth(rig, of, plain, one, directory))
    ours = _steps(rig, of, kinds[one.kind], one, directory, major, tool)
    came, said = loop.run(ours)
    rig.clear()
    outcome = judge(one, expected, came)
    record_property("truth", (major, outcome))
    if came is not None and expected is not None:
        assert came == expected
    assert outcome != "different", f"plain: {why or 'done'}\nours: {said or 'done'}"


async def _truth(
    rig: NativeRig, of: Installation, plain: PlainLiquibase, one: Input, directory: Path
) -> tuple[str | None, str]:
    """What the plain tool comes to, or why it fails."""
    if one.on_class_path:
        # Only Spring knows the class path by that name: what is left is what it looks for.
        directory, one = directory.with_name("plain"), one.without_class_path()
        _written(one, directory)
    async with rig.serving() as server:
        dsn = server.endpoint.dsn
        try:
            if one.kind == "psql":
                await asyncio.to_thread(plain_psql, of, dsn, directory, one.words)
            else:
                await plain.run(liquibase_words(server, directory, one.words, next(_numbers)))
        except FailedError as error:
            return None, str(error)
        return await asyncio.to_thread(dump, of, dsn), ""


async def _steps(
    rig: NativeRig,
    of: Installation,
    kind: Kind,
    one: Input,
    directory: Path,
    major: str,
    tool: str | None,
) -> tuple[str | None, str]:
    """What our steps come to, or why they are refused or fail."""
    fields = {"psql_args" if one.kind == "psql" else "liquibase_args": one.words}
    request = PrepareRequest(
        prepare_kind=one.kind,
        image_id="postgres",
        work_dir=str(directory),
        fields=fields | ({"liquibase_exec": tool} if tool else {}),
    )
    data_dir = rig.cluster()
    try:
        steps = await kind.recipe.steps(request, LOCAL)
        left = list(steps)
        while True:
            async with rig.serving(data_dir) as server:
                while left:
                    # What comes before a server is started anew is one step at a time.
                    number = len(steps) - len(left)
                    some = left if major == _QUICK and number > 1 else left[:1]
                    del left[: await _run(kind, some, server, rig)]
                    if _RESTARTS[major](number):
                        break
                if not left:
                    return await asyncio.to_thread(dump, of, server.endpoint.dsn), ""
    except PgstrataError as error:
        return None, f"{error.message}\n{error.details}"


async def _run(kind: Kind, steps: Sequence[Step], server: Server, rig: NativeRig) -> int:
    """Run the first of these steps, and as many others as can be in the same call; how many."""
    if len(steps) == 1 or not isinstance(kind.runner, RunsMany):
        await kind.runner.execute(steps[0], LOCAL, server, rig.runtime, unheard)
        return 1
    ran = 1

    async def hear(text: str) -> None:
        nonlocal ran
        ran += isinstance(text, Passed)

    await kind.runner.execute_many(steps, LOCAL, server, rig.runtime, hear, lambda: True)
    return ran


@pytest.mark.parametrize("one", [one for one in _INPUTS if one.engine], ids=lambda one: one.name)
def test_an_instance_of_an_engine_is_what_a_plain_run_comes_to(
    loop: asyncio.Runner,
    plain: PlainLiquibase,
    engine: Engine,
    rigs: dict[str, NativeRig],
    tmp_path: Path,
    one: Input,
) -> None:
    of, rig = _installed(_QUICK), rigs[_QUICK]
    directory = _written(one, tmp_path / "work")
    expected, _ = loop.run(_truth(rig, of, plain, one, directory))
    rig.clear()
    image = f"postgres:{exactly(of)}"
    with engine.prepared(one.kind, image, directory, one.words) as dsn:
        assert dump(of, dsn) == expected


def _written(one: Input, directory: Path) -> Path:
    if one.directory is not None:
        if not one.directory.is_dir():
            pytest.skip(f"there is no {one.directory}")
        return one.directory
    directory.mkdir()
    changelogs.write(directory, dict(one.files))
    if one.name.startswith("everything"):
        changelogs.mixed(directory)
    return directory
