"""What every runtime does, whatever its servers are made of."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pgstrata.domain.instance import Server
from pgstrata.errors import InvalidArgumentError, ProgramError, ServerError
from pgstrata.runtime.base import ToolCommand, ToolExit, run_by_lines
from pgstrata.runtime.images import version_key
from tests.clusters import (
    ANSWERING,
    FAILING,
    HANGING,
    MemoryRig,
    Rig,
    rig_below,
)
from tests.servers import data_dir_of

GONE_IMAGE = "postgres@sha256:" + "0" * 64


@pytest.fixture(
    scope="module",
    params=["memory", "native 15", pytest.param("native 16", marks=pytest.mark.slow), "native 18"],
)
def rig(request: pytest.FixtureRequest, reachable_dir: Path) -> Iterator[Rig]:
    adapter, _, version = request.param.partition(" ")
    if adapter == "memory":
        yield MemoryRig()
        return
    with rig_below(reachable_dir / f"runtime-{version}", version) as rig:
        yield rig


async def run_tool(
    rig: Rig, server: Server, args: tuple[str, ...], *, tool: str = "psql", stdin: str | None = None
) -> tuple[list[str], ToolExit]:
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    command = ToolCommand(tool=tool, args=args, work_dir=Path("/"), stdin=stdin)
    return lines, await run_by_lines(rig.runtime, server, command, keep)


def test_installations_are_listed_newest_first(rig: Rig) -> None:
    found = asyncio.run(rig.runtime.installations())
    keys = [version_key(one.version) for one in found]
    assert keys
    assert keys == sorted(keys, reverse=True)


def test_the_bare_image_is_the_newest_usable_one_of_those_that_lack_least(rig: Rig) -> None:
    usable = [one for one in asyncio.run(rig.runtime.installations()) if one.problem is None]
    best = min(usable, key=lambda one: len(one.lacks))
    assert asyncio.run(rig.runtime.resolve("postgres")).version == best.version


def test_a_major_version_a_whole_version_and_a_digest_name_the_same_image(rig: Rig) -> None:
    by_digest = asyncio.run(rig.runtime.resolve(rig.image))
    major = by_digest.version.partition(".")[0]
    assert by_digest.image_id == rig.image
    assert asyncio.run(rig.runtime.resolve(f"postgres:{major}")) == by_digest
    assert asyncio.run(rig.runtime.resolve(f"postgres:{by_digest.version}")) == by_digest


@pytest.mark.parametrize("image", ["mysql", "postgres:", "postgres:latest", "postgres@sha256:00"])
def test_a_name_that_is_no_image_is_refused_with_what_is_possible(rig: Rig, image: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        asyncio.run(rig.runtime.resolve(image))
    assert image in refused.value.message
    assert "postgres:16.4" in (refused.value.remedy or "")


@pytest.mark.parametrize("image", ["postgres:99", "postgres:16.999", GONE_IMAGE])
def test_an_image_that_is_not_here_is_refused_with_what_is_here(rig: Rig, image: str) -> None:
    newest = asyncio.run(rig.runtime.installations())[0]
    with pytest.raises(InvalidArgumentError) as refused:
        asyncio.run(rig.runtime.resolve(image))
    assert newest.version in refused.value.message
    assert "use an image that is installed" in (refused.value.remedy or "")


def test_a_new_cluster_is_at_rest(rig: Rig) -> None:
    data_dir = rig.empty()
    asyncio.run(rig.runtime.initialise(rig.image, data_dir))
    assert rig.exists(data_dir / "PG_VERSION")
    assert asyncio.run(rig.runtime.owner_of(data_dir)) is None


def test_a_cluster_is_only_made_in_an_empty_directory(rig: Rig) -> None:
    data_dir = rig.empty()
    rig.write(data_dir / "something", b"of value")
    with pytest.raises(ServerError, match=str(data_dir)):
        asyncio.run(rig.runtime.initialise(rig.image, data_dir))


def test_no_cluster_is_made_with_an_image_that_is_gone(rig: Rig) -> None:
    data_dir = rig.empty()
    with pytest.raises(ServerError, match="not installed"):
        asyncio.run(rig.runtime.initialise(GONE_IMAGE, data_dir))
    assert not rig.exists(data_dir / "PG_VERSION")


def test_a_server_runs_from_start_to_stop(rig: Rig) -> None:
    async def life(data_dir: Path) -> list[bool]:
        server = await rig.runtime.start(rig.image, data_dir)
        running = [await rig.runtime.alive(server)]
        await rig.runtime.stop(server)
        return [*running, await rig.runtime.alive(server)]

    assert asyncio.run(life(rig.cluster())) == [True, False]


def test_a_servers_programs_are_its_images_and_it_is_known_to_be_of_this_boot(rig: Rig) -> None:
    async def look(data_dir: Path) -> tuple[Path, bool]:
        server = await rig.runtime.start(rig.image, data_dir)
        programs = await rig.runtime.programs(rig.image)
        await rig.runtime.stop(server)
        return programs, rig.runtime.is_of_this_boot(server)

    programs, current = asyncio.run(look(rig.cluster()))
    version = asyncio.run(rig.runtime.resolve(rig.image)).version
    found = asyncio.run(rig.runtime.installations())
    assert programs in [one.bin_dir for one in found if one.version == version]
    assert current
    with pytest.raises(ServerError):
        asyncio.run(rig.runtime.programs(GONE_IMAGE))


@pytest.mark.parametrize("clean", [True, False])
def test_stopping_what_is_stopped_is_fine(rig: Rig, clean: bool) -> None:
    async def stop_twice(data_dir: Path) -> Server:
        server = await rig.runtime.start(rig.image, data_dir)
        await rig.runtime.stop(server, clean=clean)
        await rig.runtime.stop(server, clean=clean)
        return server

    assert not asyncio.run(rig.runtime.alive(asyncio.run(stop_twice(rig.cluster()))))


def test_a_server_that_was_stopped_at_once_starts_again(rig: Rig) -> None:
    async def again(data_dir: Path) -> bool:
        first = await rig.runtime.start(rig.image, data_dir)
        await rig.runtime.stop(first, clean=False)
        second = await rig.runtime.start(rig.image, data_dir)
        alive = await rig.runtime.alive(second)
        await rig.runtime.stop(second)
        return alive

    assert asyncio.run(again(rig.cluster()))


def test_servers_side_by_side_have_ports_of_their_own(rig: Rig) -> None:
    async def start_all(data_dirs: list[Path]) -> set[int]:
        start = rig.runtime.start
        servers = await asyncio.gather(*(start(rig.image, data_dir) for data_dir in data_dirs))
        for server in servers:
            await rig.runtime.stop(server, clean=False)
        return {server.endpoint.port for server in servers}

    assert len(asyncio.run(start_all([rig.cluster() for _ in range(3)]))) == 3


def test_a_server_takes_another_s_place_with_its_port_and_password(rig: Rig) -> None:
    first_dir, second_dir = rig.cluster(), rig.cluster()

    async def follow() -> tuple[Server, Server]:
        start = rig.runtime.start
        first = await start(rig.image, first_dir)
        await rig.runtime.stop(first, clean=False)
        second = await start(rig.image, second_dir, address=first.endpoint.address)
        with rig.clients(second, 1):
            await rig.runtime.stop(second, clean=False)
        return first, second

    first, second = asyncio.run(follow())
    assert second.endpoint.address == first.endpoint.address


def test_a_server_does_not_take_a_port_that_belongs_to_others(rig: Rig) -> None:
    first_dir, second_dir = rig.cluster(), rig.cluster()

    async def start() -> tuple[int, int]:
        first = await rig.runtime.start(rig.image, first_dir)
        await rig.runtime.stop(first, clean=False)
        taken = first.endpoint.port
        avoid = {*range(taken - 200, taken + 200)}
        second = await rig.runtime.start(rig.image, second_dir, avoid=avoid)
        await rig.runtime.stop(second, clean=False)
        return taken, second.endpoint.port

    taken, port = asyncio.run(start())
    assert abs(port - taken) >= 200


def test_a_directory_without_a_cluster_does_not_start(rig: Rig) -> None:
    data_dir = rig.empty()
    with pytest.raises(ServerError, match=str(data_dir)):
        asyncio.run(rig.runtime.start(rig.image, data_dir))
    assert asyncio.run(rig.runtime.owner_of(data_dir)) is None


def test_a_directory_that_is_not_there_does_not_start(rig: Rig) -> None:
    data_dir = rig.empty() / "missing"
    with pytest.raises(ServerError, match=str(data_dir)):
        asyncio.run(rig.runtime.start(rig.image, data_dir))


def test_a_second_server_on_a_data_directory_is_refused_and_the_first_goes_on(rig: Rig) -> None:
    async def twice(data_dir: Path) -> bool:
        first = await rig.runtime.start(rig.image, data_dir)
        with pytest.raises(ServerError, match=str(data_dir)):
            await rig.runtime.start(rig.image, data_dir)
        alive = await rig.runtime.alive(first)
        await rig.runtime.stop(first)
        return alive

    assert asyncio.run(twice(rig.cluster()))


def test_a_server_with_another_start_time_is_another_server(rig: Rig) -> None:
    async def impostor(data_dir: Path) -> list[bool]:
        server = await rig.runtime.start(rig.image, data_dir)
        held = msgspec.json.decode(server.handle)
        # In memory a pid is never used again, so that it tells as much as a start time does.
        other_held = held | (
            {"started": held["started"] - 3600, "birth": "another"}
            if "started" in held
            else {"pid": held["pid"] + 1}
        )
        other = msgspec.structs.replace(server, handle=msgspec.json.encode(other_held).decode())
        await rig.runtime.stop(other)
        alive = [await rig.runtime.alive(one) for one in (server, other)]
        await rig.runtime.stop(server)
        return alive

    assert asyncio.run(impostor(rig.cluster())) == [True, False]


def test_the_server_on_a_data_directory_is_found(rig: Rig) -> None:
    async def find(data_dir: Path) -> tuple[Server, Server | None]:
        server = await rig.runtime.start(rig.image, data_dir)
        found = await rig.runtime.owner_of(data_dir)
        assert found is not None
        assert await rig.runtime.alive(found)
        await rig.runtime.stop(found)
        assert not await rig.runtime.alive(server)
        return server, found

    server, found = asyncio.run(find(rig.cluster()))
    assert found is not None
    assert (found.runtime_id, data_dir_of(found)) == (server.runtime_id, data_dir_of(server))


def test_the_pid_file_of_another_data_directory_finds_nothing(rig: Rig) -> None:
    async def copy_pid_file(data_dir: Path, copy: Path) -> Server | None:
        server = await rig.runtime.start(rig.image, data_dir)
        rig.write(copy / "postmaster.pid", rig.read(data_dir / "postmaster.pid"))
        found = await rig.runtime.owner_of(copy)
        await rig.runtime.stop(server)
        return found

    assert asyncio.run(copy_pid_file(rig.cluster(), rig.cluster())) is None


def test_a_killed_server_is_not_alive_and_owns_nothing(rig: Rig) -> None:
    data_dir = rig.cluster()
    server = asyncio.run(rig.runtime.start(rig.image, data_dir))
    rig.kill(server)
    assert rig.exists(data_dir / "postmaster.pid")
    assert not asyncio.run(rig.runtime.alive(server))
    assert asyncio.run(rig.runtime.owner_of(data_dir)) is None
    asyncio.run(rig.runtime.stop(server))


def test_a_server_whose_files_are_gone_is_not_alive_and_can_be_stopped(rig: Rig) -> None:
    data_dir = rig.cluster()
    server = asyncio.run(rig.runtime.start(rig.image, data_dir))
    rig.remove(data_dir)
    assert not asyncio.run(rig.runtime.alive(server))
    asyncio.run(rig.runtime.stop(server))


def test_what_ended_a_server_is_witnessed_and_that_nothing_did(rig: Rig) -> None:
    async def watch(data_dir: Path) -> None:
        server = await rig.runtime.start(rig.image, data_dir)
        witness = rig.runtime.witness(server)
        assert await witness.harm("ERROR:  division by zero") is None
        rig.kill(server)
        harm = await witness.harm("server closed the connection unexpectedly")
        assert harm is not None
        assert harm.from_outside
        assert harm.what == "the server was ended"
        await rig.runtime.stop(server)

    asyncio.run(watch(rig.cluster()))


def test_at_a_start_servers_without_an_instance_are_ended_and_the_others_stay(rig: Rig) -> None:
    async def clear(data_dirs: list[Path]) -> list[bool]:
        start = rig.runtime.start
        kept, *orphans = [await start(rig.image, data_dir) for data_dir in data_dirs]
        # The pid file may not be written yet when an engine is killed, or be gone.
        rig.remove(data_dir_of(orphans[-1]) / "postmaster.pid")
        await rig.runtime.clear_orphans([kept])
        alive = [await rig.runtime.alive(server) for server in (kept, *orphans)]
        await rig.runtime.stop(kept, clean=False)
        await rig.runtime.clear_orphans([])
        return alive

    assert asyncio.run(clear([rig.cluster() for _ in range(3)])) == [True, False, False]


@pytest.fixture
def server(rig: Rig) -> Iterator[Server]:
    server = asyncio.run(rig.runtime.start(rig.image, rig.cluster()))
    yield server
    asyncio.run(rig.runtime.stop(server, clean=False))


def test_a_tools_output_comes_line_by_line(rig: Rig, server: Server) -> None:
    lines, ended = asyncio.run(run_tool(rig, server, ANSWERING))
    assert (lines, ended) == (["42"], ToolExit(exit_code=0, stderr_tail=""))


def test_a_tool_reads_its_standard_input(rig: Rig, server: Server) -> None:
    lines, ended = asyncio.run(run_tool(rig, server, ("-XAt",), stdin="\\echo grüß dich"))
    assert ended.exit_code == 0
    assert "grüß dich" in lines[0]


def test_a_tool_that_fails_says_why(rig: Rig, server: Server) -> None:
    lines, ended = asyncio.run(run_tool(rig, server, FAILING))
    assert ended.exit_code == 1
    assert 'column "nothing" does not exist' in ended.stderr_tail
    assert lines[0] == ended.stderr_tail.splitlines()[0]


def test_a_tool_that_does_not_exist_cannot_be_started(rig: Rig, server: Server) -> None:
    with pytest.raises(ProgramError, match="no-such-tool"):
        asyncio.run(run_tool(rig, server, (), tool="no-such-tool"))


def test_a_tool_cannot_reach_a_server_that_is_gone(rig: Rig, server: Server) -> None:
    asyncio.run(rig.runtime.stop(server))
    _lines, ended = asyncio.run(run_tool(rig, server, ANSWERING))
    assert ended.exit_code == 2


def test_a_tool_that_hangs_ends_when_it_is_cancelled(rig: Rig, server: Server) -> None:
    async def cancel_once_begun() -> str:
        begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def note(line: str) -> None:
            begun.set_result(line)

        command = ToolCommand(tool="psql", args=HANGING, work_dir=Path("/"))
        running = asyncio.create_task(run_by_lines(rig.runtime, server, command, note))
        line = await begun
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return line

    assert asyncio.run(cancel_once_begun()) == "begun"


def test_a_failure_for_want_of_an_extension_has_a_remedy_and_others_have_none(
    rig: Rig, server: Server
) -> None:
    said = 'ERROR:  extension "nobodys" is not available'
    told = asyncio.run(rig.runtime.remedy_for(server, said))
    assert "has no nobodys, nor has any other here" in (told or "")
    assert asyncio.run(rig.runtime.remedy_for(server, "ERROR:  syntax error")) is None


def test_the_dsn_names_the_servers_port(rig: Rig, server: Server) -> None:
    dsn = server.endpoint.dsn
    assert dsn.startswith("postgresql://postgres:")
    assert dsn.endswith(f"@127.0.0.1:{server.endpoint.port}/postgres")


def test_a_server_that_was_held_still_goes_on(rig: Rig) -> None:
    data_dir = rig.cluster()

    async def scenario() -> None:
        server = await rig.runtime.start(rig.image, data_dir)
        try:
            async with rig.runtime.freeze(server):
                assert await rig.runtime.alive(server)
            lines, ended = await run_tool(rig, server, ANSWERING)
            assert (lines, ended.exit_code) == (["42"], 0)
        finally:
            await rig.runtime.stop(server, clean=False)

    asyncio.run(scenario())


def test_a_server_that_is_gone_cannot_be_held_still(rig: Rig) -> None:
    data_dir = rig.cluster()

    async def scenario() -> None:
        server = await rig.runtime.start(rig.image, data_dir)
        await rig.runtime.stop(server)
        with pytest.raises(ServerError):
            async with rig.runtime.freeze(server):
                pytest.fail("it was held still")

    asyncio.run(scenario())
