"""What is special about servers that are processes of this machine."""

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import psycopg
import pytest

from pgstrata.dbms import connection
from pgstrata.dbms.connection import bare_connection, engine_connection
from pgstrata.dbms.postgres import Postgres
from pgstrata.domain.instance import Address, Server
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import ConflictError, ServerError
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.psql.running import PsqlRunner
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.runtime import initdb, launch, native, postmaster
from pgstrata.runtime.base import ToolCommand, ToolExit, run_by_lines
from pgstrata.runtime.clients import count_clients
from pgstrata.runtime.ports import HOST, Ports
from pgstrata.system import processes, subprocesses
from pgstrata.system.cell import spawning
from pgstrata.system.output import Stream
from tests import needs
from tests.clusters import (
    NativeRig,
    connected,
    image_of,
    native_runtime,
    no_server_left,
    servers_below,
)
from tests.servers import data_dir_of, pid_of, started_by

START = """
import asyncio, msgspec, sys
from pathlib import Path
from tests.clusters import native_runtime

runtime = native_runtime(Path(sys.argv[1]))
server = asyncio.run(runtime.start(sys.argv[2], Path(sys.argv[3])))
sys.stdout.buffer.write(msgspec.json.encode(server, enc_hook=str))
"""


@pytest.fixture(scope="module")
def directory(reachable_dir: Path) -> Iterator[Path]:
    directory = reachable_dir / "native"
    directory.mkdir()
    with no_server_left(directory):
        yield directory


@pytest.fixture(scope="module")
def rig(directory: Path) -> NativeRig:
    rig = NativeRig(directory)
    rig.cluster()  # the first takes an event loop of its own, which a test has not to spare
    return rig


async def psql(rig: NativeRig, server: Server, *commands: str) -> list[str]:
    """What psql writes; every command must succeed."""
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    args = tuple(word for command in commands for word in ("-c", command))
    command = ToolCommand(tool="psql", args=("-qAt", *args), work_dir=Path("/"))
    ended = await run_by_lines(rig.runtime, server, command, keep)
    assert ended == ToolExit(exit_code=0, stderr_tail="")
    return lines


def test_a_server_outlives_the_engine_that_started_it(rig: NativeRig, directory: Path) -> None:
    engine = [sys.executable, "-c", START, str(directory), rig.image, str(rig.cluster())]
    said = subprocess.run(engine, check=True, capture_output=True).stdout
    server = msgspec.json.decode(said, type=Server, dec_hook=lambda cls, text: cls(text))

    async def adopt() -> list[bool]:
        runtime = native_runtime(directory)
        alive = [await runtime.alive(server)]
        assert await Postgres().connections(server) == 0
        await runtime.stop(server)
        return [*alive, await runtime.alive(server)]

    assert asyncio.run(adopt()) == [True, False]


def once_it_has_ended(pid: int, **_: object) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            continue


@pytest.mark.parametrize("soon", [False, True])
def test_a_server_with_settings_that_it_refuses_is_told_with_them(
    rig: NativeRig, monkeypatch: pytest.MonkeyPatch, *, soon: bool
) -> None:
    if soon:  # It has ended before anybody looks at its process.
        monkeypatch.setattr(native, "_process", once_it_has_ended)
    settings = {"shared_preload_libraries": "nosuch"}
    with pytest.raises(ServerError, match="does not start on") as told:
        asyncio.run(rig.runtime.start(rig.image, rig.cluster(), settings=settings))
    assert "correct that: shared_preload_libraries" in (told.value.remedy or "")
    assert "nosuch" in (told.value.details or "")


def test_what_was_written_is_there_after_a_clean_stop(rig: NativeRig) -> None:
    async def write_and_read() -> list[str]:
        data_dir = rig.cluster()
        async with rig.serving(data_dir) as server:
            await psql(rig, server, "create unlogged table kept as select 7 as n")
        async with rig.serving(data_dir) as server:
            return await psql(rig, server, "select n from kept")

    assert asyncio.run(write_and_read()) == ["7"]


def test_clients_need_the_password(rig: NativeRig) -> None:
    async def knock() -> None:
        async with rig.serving() as server:
            dsn = server.endpoint.dsn
            with connected(dsn) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
            for wrong in ("postgresql://postgres", "postgresql://postgres:guess"):
                with pytest.raises(psycopg.OperationalError, match="password"):
                    connected(f"{wrong}@{server.endpoint.host}:{server.endpoint.port}/postgres")

    asyncio.run(knock())


def test_other_roles_need_a_password_on_the_socket_too(rig: NativeRig) -> None:
    async def knock() -> None:
        async with rig.serving() as server:
            await psql(rig, server, "create role guest login password 'open'")
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(
                    host=str(server.endpoint.socket_dir), port=server.endpoint.port, user="guest"
                )

    asyncio.run(knock())


def test_nobody_else_can_enter_the_socket_directory(rig: NativeRig) -> None:
    async def look() -> os.stat_result:
        async with rig.serving() as server:
            return server.endpoint.socket_dir.parent.stat()

    # Nobody gets there who is neither its owner nor in the servers' group.
    assert asyncio.run(look()).st_mode & stat.S_IRWXO == 0


def test_nobody_else_can_read_the_log(rig: NativeRig) -> None:
    async def look() -> os.stat_result:
        async with rig.serving() as server:
            return (data_dir_of(server).parent / "server.log").stat()

    assert stat.S_IMODE(asyncio.run(look()).st_mode) == 0o600


def test_servers_never_run_as_root(rig: NativeRig) -> None:
    async def look() -> set[int]:
        async with rig.serving() as server:
            return {process.uids().real for process in postmaster.members(data_dir_of(server))}

    uids = asyncio.run(look())
    assert len(uids) == 1
    assert 0 not in uids


def test_a_server_listens_on_loopback_only(rig: NativeRig) -> None:
    async def look() -> set[str]:
        async with rig.serving() as server:
            return {
                connection.laddr.ip
                for connection in psutil.Process(pid_of(server)).net_connections()
                if connection.status == psutil.CONN_LISTEN
            }

    assert asyncio.run(look()) == {HOST}


def test_a_rehearsal_has_each_database_build_its_cache_whatever_it_is_called(
    rig: NativeRig,
) -> None:
    async def scenario() -> set[bool]:
        async with rig.serving() as server:
            await psql(rig, server, 'create database "\'größer""\n1"', "create database other")
            oids = await psql(rig, server, "select oid from pg_database where not datistemplate")
        data_dir = data_dir_of(server)
        caches = [data_dir / "base" / oid / "pg_internal.init" for oid in oids]
        assert len(caches) == 3
        for cache in caches:
            cache.unlink(missing_ok=True)
        async with rig.serving(data_dir, waits=True):
            return {cache.exists() for cache in caches}

    assert asyncio.run(scenario()) == {True}


def test_the_clients_of_a_server_that_was_stopped_are_asked_for_in_vain(
    rig: NativeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.5)

    async def ask() -> None:
        async with rig.serving() as server:
            process = psutil.Process(pid_of(server))
            process.suspend()
            try:
                with pytest.raises(ServerError, match="does not answer"):
                    await rig.dbms.connections(server)
            finally:
                process.resume()

    asyncio.run(ask())


def test_a_server_whose_rehearsal_fails_does_not_stay(rig: NativeRig) -> None:
    async def scenario() -> Path:
        async with rig.serving() as server:
            await psql(rig, server, "create database broken")
            [oid] = await psql(rig, server, "select oid from pg_database where datname = 'broken'")
        data_dir = data_dir_of(server)
        shutil.rmtree(data_dir / "base" / oid)
        with pytest.raises(ServerError, match=f"base/{oid}"):
            await rig.runtime.start(rig.image, data_dir, waits=True)
        return data_dir

    assert servers_below(asyncio.run(scenario())) == []


def test_a_server_without_clients_has_no_processes_beside_those_that_every_server_has(
    rig: NativeRig,
) -> None:
    async def until_it_has_none(server: Server) -> None:
        async with asyncio.timeout(300):
            while rig.runtime.has_others(server):  # noqa: ASYNC110 - a session is ending
                await asyncio.sleep(0)

    async def scenario() -> None:
        async with rig.serving() as server:
            await until_it_has_none(server)
            with connected(server.endpoint.dsn):
                assert rig.runtime.has_others(server)
            await until_it_has_none(server)
            assert await count_clients(server, rig.runtime, rig.dbms) == 0

    asyncio.run(scenario())


def test_the_engines_own_sessions_are_no_clients(rig: NativeRig) -> None:
    async def count() -> int:
        async with rig.serving() as server, bare_connection(server), engine_connection(server):
            return await rig.dbms.connections(server)

    assert asyncio.run(count()) == 0


@pytest.mark.parametrize(
    "setting",
    [
        "port = 1",
        "listen_addresses = '*'",
        "unix_socket_directories = '/nowhere'",
        "hba_file = '/nowhere'",
        "ident_file = '/nowhere'",
        "logging_collector = on",
        "archive_mode = on",
    ],
)
def test_a_setting_left_in_the_cluster_locks_nobody_out(rig: NativeRig, setting: str) -> None:
    async def restart() -> int:
        data_dir = rig.cluster()
        with (data_dir / "postgresql.auto.conf").open("a") as file:
            file.write(f"{setting}\n")
        async with rig.serving(data_dir) as server:
            return await rig.dbms.connections(server)

    assert asyncio.run(restart()) == 0


def test_a_script_that_changes_the_password_does_not_lock_the_engine_out(rig: NativeRig) -> None:
    async def change() -> list[str]:
        async with rig.serving() as server:
            await psql(rig, server, "alter role postgres password 'another'")
            return await psql(rig, server, "select current_user")

    assert asyncio.run(change()) == ["postgres"]


@pytest.mark.parametrize(
    "shutting",
    [
        ("alter role postgres nologin",),
        (
            "\\c template1",
            "alter database postgres allow_connections false",
            "alter role postgres nologin",
        ),
        ("create unlogged table kept as select 7 as n", "alter role postgres nologin"),
    ],
)
@pytest.mark.parametrize("opening", ["select 1", "alter role postgres login"])
def test_what_lets_a_step_in_is_taken_back_unless_the_step_says_so_itself(
    rig: NativeRig, shutting: tuple[str, ...], opening: str
) -> None:
    async def scenario() -> list[bool]:
        data_dir = rig.cluster()
        undone = []
        for commands in (shutting, (opening,), ("select 1",)):
            server = await rig.runtime.start(rig.image, data_dir, building=True)
            undone.append(bool(server.undo))
            await psql(rig, server, *commands)
            if len(undone) == 3 and "unlogged" in shutting[0]:
                assert await psql(rig, server, "select n from kept") == ["7"]
            await rig.runtime.stop(server)
        return undone

    opened = opening != "select 1" and "\\c template1" not in shutting
    assert asyncio.run(scenario()) == [False, True, not opened]


def test_the_engines_environment_does_not_show(
    rig: NativeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "LC_ALL": "POSIX",
        "TZ": "Asia/Tokyo",
        "PGTZ": "Asia/Tokyo",
        "PGOPTIONS": "-c search_path=elsewhere",
        "PGDATABASE": "elsewhere",
        "PGCLIENTENCODING": "LATIN1",
    }.items():
        monkeypatch.setenv(name, value)

    async def show() -> list[str]:
        data_dir = rig.empty()
        await rig.runtime.initialise(rig.image, data_dir)
        async with rig.serving(data_dir) as server:
            return await psql(
                rig,
                server,
                "show timezone",
                "show search_path",
                "show client_encoding",
                "select datcollate from pg_database where datname = current_database()",
            )

    assert asyncio.run(show()) == ["UTC", '"$user", public', "UTF8", "C.UTF-8"]


def test_a_locale_that_is_missing_is_told_from_other_failures(
    rig: NativeRig, directory: Path
) -> None:
    installation = asyncio.run(rig.runtime.installations())[0]

    def try_locale(locale: str, data_dir: Path) -> subprocesses.Ended:
        argv = initdb.argv(installation.bin_dir, installation.major, data_dir, locale)
        user = rig.native.server_user
        return asyncio.run(subprocesses.run(argv, cwd=directory, user=user, check=False))

    assert initdb.refuses_locale(try_locale("xx_YY.UTF-8", rig.empty()))
    assert not initdb.refuses_locale(try_locale("C", rig.cluster()))


class Chosen(Ports):
    """Picks the ports given, then free ones."""

    def __init__(self, *ports: int) -> None:
        super().__init__()
        self._left = list(ports)

    def pick(self) -> int:
        return self._left.pop(0) if self._left else super().pick()


def test_a_port_that_was_taken_meanwhile_is_given_up(rig: NativeRig, directory: Path) -> None:
    async def start(taken: int) -> int:
        runtime = native_runtime(directory, Chosen(taken))
        server = await runtime.start(rig.image, rig.cluster())
        await runtime.stop(server)
        return server.endpoint.port

    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        assert asyncio.run(start(taken)) != taken


def test_running_out_of_ports_is_an_error(rig: NativeRig, directory: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        runtime = native_runtime(directory, Chosen(*[other.getsockname()[1]] * 5))
        with pytest.raises(ServerError, match="no free port"):
            asyncio.run(runtime.start(rig.image, rig.cluster()))


def test_a_port_that_must_be_had_is_waited_for(
    rig: NativeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = rig.cluster()

    async def start() -> None:
        with socket.create_server((HOST, 0)) as other:
            address = Address(port=other.getsockname()[1], password="kept")
            starting = asyncio.create_task(
                rig.runtime.start(rig.image, data_dir, address=address), name="start"
            )
            await asyncio.sleep(0)
        server = await starting
        assert server.endpoint.address == address
        await rig.runtime.stop(server, clean=False)
        monkeypatch.setattr(native, "_PORT_SECONDS", 0)
        with (
            socket.create_server((HOST, address.port)),
            pytest.raises(ConflictError, match=f"port {address.port}") as taken,
        ):
            await rig.runtime.start(rig.image, data_dir, address=address)
        assert "pgstrata rm" in (taken.value.remedy or "")

    asyncio.run(start())


def test_a_broken_data_directory_is_told_in_the_servers_own_words(rig: NativeRig) -> None:
    data_dir = rig.cluster()

    async def start_and_break() -> None:
        async with rig.serving(data_dir):
            pass
        (data_dir / "postgresql.conf").write_text("nonsense here\n")
        await rig.runtime.start(rig.image, data_dir)

    with pytest.raises(ServerError) as failed:
        asyncio.run(start_and_break())
    assert str(data_dir) in failed.value.message
    assert failed.value.details is not None
    assert 'unrecognized configuration parameter "nonsense"' in failed.value.details
    # The words of the server that ran before are none of this one's.
    assert "ready to accept connections" not in failed.value.details
    assert servers_below(data_dir.parent) == []


@pytest.mark.parametrize("building", [False, True])
def test_a_cluster_that_lets_nobody_in_for_another_reason_does_not_count_as_up(
    rig: NativeRig, building: bool
) -> None:
    data_dir = rig.cluster()

    async def shut_and_restart() -> None:
        async with rig.serving(data_dir) as server:
            await psql(rig, server, "alter role postgres set session_preload_libraries = 'nope'")
        await rig.runtime.start(rig.image, data_dir, building=building)

    with pytest.raises(ServerError, match='could not access file "nope"'):
        asyncio.run(shut_and_restart())
    assert servers_below(data_dir.parent) == []


def test_a_start_that_is_cancelled_leaves_nothing_running(rig: NativeRig) -> None:
    data_dir = rig.cluster()

    async def cancel_in_the_middle() -> None:
        starting = asyncio.create_task(rig.runtime.start(rig.image, data_dir))
        async with asyncio.timeout(300):
            while not (data_dir / "postmaster.pid").exists():  # noqa: ASYNC110
                await asyncio.sleep(0)
        starting.cancel()
        await starting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_in_the_middle())
    assert servers_below(data_dir.parent) == []


def test_a_server_that_ends_does_not_stay_a_zombie(rig: NativeRig) -> None:
    async def kill_and_wait() -> None:
        server = await rig.runtime.start(rig.image, rig.cluster())
        psutil.Process(pid_of(server)).kill()
        async with asyncio.timeout(300):
            while psutil.pid_exists(pid_of(server)):  # noqa: ASYNC110
                await asyncio.sleep(0)

    asyncio.run(kill_and_wait())


def test_letting_go_of_servers_leaves_them_running(rig: NativeRig, directory: Path) -> None:
    async def close_and_look() -> bool:
        runtime = native_runtime(directory)
        server = await runtime.start(rig.image, rig.cluster())
        await runtime.close()
        alive = await runtime.alive(server)
        await runtime.stop(server)
        return alive

    assert asyncio.run(close_and_look())


def test_stopping_a_killed_server_ends_its_orphans(rig: NativeRig) -> None:
    async def kill_under_load() -> list[psutil.Process]:
        server = await rig.runtime.start(rig.image, rig.cluster())
        with connected(server.endpoint.dsn) as connection:
            connection.execute("select 1")
            psutil.Process(pid_of(server)).kill()
            await rig.runtime.stop(server, clean=False)
            return postmaster.members(data_dir_of(server))

    assert asyncio.run(kill_under_load()) == []


def below_us(server: Server) -> set[psutil.Process]:
    """What we started with its children, but not the server's, which has some come and go."""
    ours = started_by(os.getpid(), data_dir_of(server).parents[1])
    return {*ours} - {*psutil.Process(pid_of(server)).children(recursive=True)}


def test_a_cancelled_tool_takes_its_children_with_it(rig: NativeRig) -> None:
    async def cancel_it() -> int:
        begun = asyncio.Event()

        async def note(_line: str) -> None:
            begun.set()

        async with rig.serving() as server:
            before = below_us(server)
            command = ToolCommand(
                tool="psql", args=("-c", "\\! echo begun; sleep 600"), work_dir=Path("/")
            )
            running = asyncio.create_task(run_by_lines(rig.runtime, server, command, note))
            await begun.wait()
            family = below_us(server) - before
            running.cancel()
            await asyncio.wait((running,))
            async with asyncio.timeout(300):
                for process in family:
                    await processes.wait_exit(process.pid)
            return len(family)

    assert asyncio.run(cancel_it()) >= 2


def test_a_tool_may_be_named_by_its_whole_path(rig: NativeRig) -> None:
    async def run_it() -> ToolExit:
        async def ignore(_line: str) -> None: ...

        async with rig.serving() as server:
            command = ToolCommand(tool=sys.executable, args=("-c", ""), work_dir=Path("/"))
            return await run_by_lines(rig.runtime, server, command, ignore)

    assert asyncio.run(run_it()).exit_code == 0


def test_an_error_keeps_the_last_lines_only(rig: NativeRig) -> None:
    async def complain() -> ToolExit:
        async def ignore(_line: str) -> None: ...

        async with rig.serving() as server:
            script = "import sys; [print(n, file=sys.stderr) for n in range(1000)]; sys.exit(3)"
            command = ToolCommand(tool=sys.executable, args=("-c", script), work_dir=Path("/"))
            return await run_by_lines(rig.runtime, server, command, ignore)

    ended = asyncio.run(complain())
    assert ended.exit_code == 3
    assert ended.stderr_tail.splitlines() == [str(n) for n in range(960, 1000)]


def test_streams_come_apart_as_the_bytes_they_are_each_in_its_own_order(rig: NativeRig) -> None:
    script = (
        "import sys\n"
        "for n in range(500):\n"
        "    sys.stdout.buffer.write(b'o\\xff%d' % n); sys.stdout.flush()\n"
        "    sys.stderr.buffer.write(b'e\\xfe%d' % n); sys.stderr.flush()\n"
    )
    written = {"stdout": b"", "stderr": b""}

    async def run_it() -> None:
        async def keep(stream: Stream, piece: bytes) -> None:
            written[stream] += piece

        async with rig.serving() as server:
            command = ToolCommand(tool=sys.executable, args=("-c", script), work_dir=Path("/"))
            await rig.runtime.run(server, command, keep)

    asyncio.run(run_it())
    assert written["stdout"] == b"".join(b"o\xff%d" % n for n in range(500))
    assert written["stderr"] == b"".join(b"e\xfe%d" % n for n in range(500))


def test_commands_may_bring_variables_of_their_own(rig: NativeRig) -> None:
    lines: list[str] = []

    async def run_it() -> None:
        async def keep(line: str) -> None:
            lines.append(line)

        async with rig.serving() as server:
            command = ToolCommand(
                tool="psql",
                args=("-Atc", "show application_name"),
                work_dir=Path("/"),
                env={"PGAPPNAME": "mine"},
            )
            await run_by_lines(rig.runtime, server, command, keep)

    asyncio.run(run_it())
    assert lines == ["mine"]


@needs.root
def test_a_place_the_servers_user_cannot_reach_is_named(rig: NativeRig, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    tmp_path.chmod(0o700)
    with pytest.raises(ServerError) as refused:
        asyncio.run(rig.runtime.initialise(rig.image, data_dir))
    assert "chmod o+x" in (refused.value.remedy or "")


def test_a_state_of_each_version_is_known_by_its_image(directory: Path) -> None:
    runtime = native_runtime(directory)
    images = {image_of(runtime, f"postgres:{major}") for major in (15, 16, 18)}
    assert len(images) == 3


def test_psql_reads_strings_as_the_scanner_did_whatever_the_database_is_set_to(
    rig: NativeRig,
) -> None:
    show = ("-qAt", "-c", "show standard_conforming_strings")
    request = PrepareRequest(prepare_kind="psql", image_id=rig.image, fields={"psql_args": show})
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    async def scenario() -> None:
        [step] = await PsqlRecipe().steps(request, LocalTree())
        async with rig.serving() as server:
            await psql(rig, server, "alter role postgres set standard_conforming_strings = off")
            await PsqlRunner().execute(step, LocalTree(), server, rig.runtime, keep)

    asyncio.run(scenario())
    assert lines == ["on"]


def test_servers_of_a_removed_directory_and_dead_sockets_are_cleared_away(
    rig: NativeRig, directory: Path
) -> None:
    async def scenario() -> None:
        kept, killed, lost = [await rig.runtime.start(rig.image, rig.cluster()) for _ in range(3)]
        rig.kill(killed)
        shutil.rmtree(data_dir_of(lost))
        run_dir = killed.endpoint.socket_dir.parent.parent
        mine = run_dir / "notes"
        mine.touch()
        (run_dir / ".s.PGSQL.1").touch()
        with socket.create_server((HOST, 0)) as another:
            await rig.runtime.clear_orphans([kept])
            assert another.fileno() > 0
        assert [await rig.runtime.alive(one) for one in (kept, killed, lost)] == [
            True,
            False,
            False,
        ]
        assert {path.name for path in run_dir.iterdir()} == {
            kept.endpoint.socket_dir.parent.name,
            "notes",
        }
        mine.unlink()
        with connected(kept.endpoint.dsn) as connection:
            connection.execute("select 1")
        await rig.runtime.stop(kept, clean=False)

    asyncio.run(scenario())
    assert servers_below(directory) == []


def test_a_server_whose_spawner_was_killed_is_cleared_away(rig: NativeRig, directory: Path) -> None:
    """It is nobody's child any more, and what it calls its directory says nothing."""
    before, runtime, data_dir = (
        spawning.spawners(directory),
        native_runtime(directory),
        rig.cluster(),
    )

    async def scenario() -> bool:
        server = await runtime.start(rig.image, data_dir)
        for pid in set(spawning.spawners(directory)) - set(before):
            psutil.Process(pid).kill()
        await rig.runtime.clear_orphans([])
        alive = await runtime.alive(server)
        await runtime.close()
        return alive

    assert not asyncio.run(scenario())
    assert servers_below(directory) == []


def test_a_server_that_was_only_just_spawned_is_cleared_away(rig: NativeRig) -> None:
    data_dir = rig.cluster()

    async def scenario() -> bool:
        [installation, *_] = await rig.runtime.installations()
        # As an engine leaves it that is killed at once: no pid file, perhaps not even a PostgreSQL.
        # It may get as far as its pid file before we are given time again, hence the removal.
        pid = launch.spawn(
            [str(installation.bin_dir / "postgres"), "-D", str(data_dir)],
            data_dir=data_dir,
            log=data_dir.parent / "log",
            user=rig.native.server_user,
        )
        await processes.freeze(pid, [])
        (data_dir / "postmaster.pid").unlink(missing_ok=True)
        await rig.runtime.clear_orphans([])
        return processes.started(pid) is None

    assert asyncio.run(scenario())


def test_only_what_works_in_the_store_is_cleared_away(rig: NativeRig, directory: Path) -> None:
    ours = directory / "a-store"
    ours.mkdir()
    runtime, data_dir = native_runtime(ours), rig.cluster()

    async def scenario() -> bool:
        theirs = await rig.runtime.start(rig.image, data_dir)
        await runtime.clear_orphans([])
        alive = await rig.runtime.alive(theirs)
        await rig.runtime.stop(theirs)
        return alive

    # Somebody looks at a data directory of ours, with a program that is no PostgreSQL.
    with subprocess.Popen(["sleep", "600"], cwd=ours) as shell:
        assert asyncio.run(scenario())
        assert shell.poll() is None
        shell.kill()
