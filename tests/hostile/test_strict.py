"""A server with a network of its own: its DSN leads in, and nothing leads out."""

import asyncio
import resource
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from pgstrata.domain.instance import Server
from pgstrata.errors import InvalidArgumentError
from pgstrata.runtime.cells import Cells, Places
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.runtime.layout import layout_of
from pgstrata.runtime.ports import Ports
from pgstrata.runtime.users import engine_user
from pgstrata.settings import SandboxSettings
from pgstrata.system.cell import levels
from pgstrata.system.cell.plan import Cell
from pgstrata.system.cell.spawning import Spawner
from tests import needs
from tests.clusters import NativeRig, connected, fetched, native_runtime, rig_below
from tests.hostile.cells import ATTACKS, argv, outcome_in
from tests.servers import pid_of

STRICT = SandboxSettings(level="strict")

CLIENTS = b"select count(*) from pg_stat_activity where backend_type = 'client backend'"

SEND = """
target = ("127.0.0.1", there["port of datagrams"])
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", target)
"""

PIECE = b"x" * 999 + b"\n"
PIECES = 20_000
"""20 MB, which no buffers on the way hold."""

ON_THE_RELAY = {
    "see its descriptors": 'os.listdir("/proc/2/fd")',
    "read its memory": 'open("/proc/2/mem", "rb")',
    "trace it": """
if libc.ptrace(0x4206, 2, 0, 0) == -1:
    raise OSError("PTRACE_SEIZE")
""",
    "take its socket": """
pidfd = os.pidfd_open(2)
if libc.syscall(438, pidfd, 3, 0) == -1:
    raise OSError("pidfd_getfd")
""",
}
"""Attacks on the process that lets clients in, the second of the cell."""

CONFINED = """
status = dict(line.split(":") for line in open("/proc/2/status").read().splitlines())
said = [status[name].strip() for name in ("Name", "NoNewPrivs", "Seccomp", "CapEff", "CapPrm")]
if said != [status["Name"].strip(), "1", "2", "0" * 16, "0" * 16] or "python" not in said[0]:
    raise OSError(str(said))
"""

OUT = {
    name: ATTACKS[name]
    for name in ("connect to an abstract Unix socket", "connect to a neighbour by TCP")
} | {
    "connect to a neighbour through every address": """
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")):
    try:
        socket.socket(family).connect((address, there["port"]))
        break
    except OSError:
        pass
else:
    raise OSError("refused")
""",
    "connect to a machine elsewhere": """
socket.create_connection(("192.0.2.1", 80), 2)
""",
}


@pytest.fixture(scope="module")
def native(reachable_dir: Path) -> Iterator[NativeRig]:
    try:
        with rig_below(reachable_dir / "strict", "15", sandbox=STRICT) as native:
            assert native.native.sandbox.level == "strict"
            yield native
    except InvalidArgumentError as error:
        needs.missing(error.message)


def relay_of(server: Server) -> psutil.Process:
    """The process that lets its clients in."""
    (relay,) = (
        child
        for child in psutil.Process(pid_of(server)).children()
        if child.name().startswith("python")
    )
    return relay


def cell_of(native: NativeRig, program: tuple[str, ...], own: Path, spawner: Spawner) -> Cell:
    """A server's cell with another program in the server's place."""
    user = native.native.server_user or engine_user()
    found = asyncio.run(native.runtime.installations())
    cell = Cells(spawner, STRICT, server_user=user, engine_user=engine_user()).server(
        program,
        MINIMAL_ENV,
        layout=asyncio.run(layout_of(next(one.bin_dir for one in found if one.major == 15))),
        major=15,
        places=Places(own, own, own),
        port=Ports().pick(),
    )
    assert cell is not None
    return cell


def outcome(
    native: NativeRig, own: Path, there: dict[str, Any], attacks: dict[str, str]
) -> dict[str, str]:
    """What becomes of attacks that nothing but the namespaces keeps from anything."""
    spawner = Spawner(Path("/"))
    cell = cell_of(native, argv(there, attacks), own, spawner)
    with tempfile.TemporaryFile() as said:
        started = spawner.start(
            cell._replace(files=None, filter=None, kept=None),
            stdin=None,
            stdout=said.fileno(),
            stderr=said.fileno(),
        )
        ended = levels.wait(started)
        spawner.close()
        said.seek(0)
        text = said.read().decode()
    assert (ended.exit_code, ended.failure) == (0, None), text
    return outcome_in(text)


def test_nothing_leads_out_whatever_else_the_cell_has(
    native: NativeRig, own: Path, there: dict[str, Any]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        port = listening.getsockname()[1]
        there = there | {"port of datagrams": port}
        become = outcome(native, own, there, OUT | {"send a datagram": SEND})
        with pytest.raises(BlockingIOError):
            listening.recv(1)
    assert become.pop("send a datagram") == "succeeded"
    assert {name for name, what in become.items() if not what.startswith("failed")} == set()
    assert len(become) == len(OUT)


def test_nothing_gets_at_the_process_that_lets_clients_in(
    native: NativeRig, own: Path, there: dict[str, Any]
) -> None:
    become = outcome(native, own, there, ON_THE_RELAY | {"it is confined": CONFINED})
    assert become.pop("it is confined") == "succeeded"
    assert {name for name, what in become.items() if not what.startswith("failed")} == set()


def test_sql_reaches_its_own_server_only(native: NativeRig, neighbour: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, connected_to(native) as (server, one):
        listening.setblocking(False)
        one.execute("create extension dblink")
        target = f"host=127.0.0.1 port=%s {login(server)}"
        there = f"select * from dblink('{target}', 'select 7') as t (n int)"
        own_port = server.endpoint.port
        assert one.execute((there % own_port).encode()).fetchone() == (7,)
        itself = "select * from dblink('dbname=' || current_database(), 'select 8') t (n int)"
        assert one.execute(itself.encode()).fetchone() == (8,)
        for port in (listening.getsockname()[1], neighbour.endpoint.port):
            with pytest.raises(psycopg.Error, match=r"refused|denied"):
                one.execute((there % port).encode())
        with pytest.raises(BlockingIOError):
            listening.accept()


def login(server: Server) -> str:
    return f"user={server.endpoint.user} password={server.endpoint.password}"


@contextmanager
def connected_to(native: NativeRig) -> Iterator[tuple[Server, psycopg.Connection]]:
    server = asyncio.run(native.runtime.start(native.image, native.cluster()))
    try:
        with connected(server.endpoint.dsn) as connection:
            yield server, connection
    finally:
        asyncio.run(native.runtime.stop(server, clean=False))


def test_many_clients_at_once_are_what_they_were(neighbour: Server) -> None:
    def numbers(number: int) -> list[Any]:
        with connected(neighbour.endpoint.dsn) as connection:
            asked = "select inet_client_addr()::text, inet_server_port(), generate_series(1, %s)"
            return connection.execute(asked, (1000 + number,)).fetchall()

    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(numbers, range(36)))
    ours = ("127.0.0.1/32", neighbour.endpoint.port)
    assert answers == [[(*ours, g) for g in range(1, 1001 + number)] for number in range(36)]
    asked = ("-XAt", "-c", "select 42")
    psql = fetched("18").bin_dir / "psql"
    done = subprocess.run([psql, neighbour.endpoint.dsn, *asked], capture_output=True, check=True)
    assert done.stdout == b"42\n"


def test_much_goes_in_and_comes_out_while_somebody_does_not_read(neighbour: Server) -> None:
    relay = relay_of(neighbour)
    with connected(neighbour.endpoint.dsn) as slow, connected(neighbour.endpoint.dsn) as other:
        slow.execute("create temp table much (x text)")
        with slow.cursor().copy("copy much from stdin") as copying:
            for _ in range(PIECES):
                copying.write(PIECE)
        before = relay.memory_info().rss
        slow.pgconn.send_query(b"copy much to stdout")
        slow.pgconn.flush()
        answer = slow.pgconn.get_result()
        assert answer is not None
        working = sum(relay.cpu_times()[:2])
        other.execute("select pg_sleep(0.5)")
        # It waits for who does not read: otherwise it would have worked all the time.
        assert sum(relay.cpu_times()[:2]) - working < 0.25
        assert relay.memory_info().rss - before < 4 << 20
        received = 0
        while (copied := slow.pgconn.get_copy_data(0))[0] > 0:
            received += copied[0]
        while slow.pgconn.get_result() is not None:
            pass
        assert received == PIECES * len(PIECE)
    assert neighbour_is_idle(neighbour)


def neighbour_is_idle(server: Server) -> bool:
    """Whether nobody but who asks is connected, once those that have left are gone."""
    with connected(server.endpoint.dsn) as connection:
        for _ in range(1000):
            if connection.execute(CLIENTS).fetchone() == (1,):
                return True
            connection.execute("select pg_sleep(0.01)")
    return False


ENCRYPT = struct.pack("!II", 8, 80877103)
NONSENSE = struct.pack("!II", 8, 1)


def test_who_says_no_more_still_hears_the_answer(neighbour: Server) -> None:
    with socket.create_connection(("127.0.0.1", neighbour.endpoint.port), 300) as client:
        client.sendall(ENCRYPT)
        client.shutdown(socket.SHUT_WR)
        assert (client.recv(10), client.recv(10)) == (b"N", b"")


def test_clients_that_left_or_stay_silent_for_ever_keep_nothing(neighbour: Server) -> None:
    relay = relay_of(neighbour)
    with ExitStack() as silent:
        for reset in (True, False) * 4:
            client = silent.enter_context(
                socket.create_connection(("127.0.0.1", neighbour.endpoint.port), 300)
            )
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(ENCRYPT)
                client.close()
                continue
            client.sendall(NONSENSE)
            said = b""
            while piece := client.recv(1000):
                said += piece
            assert b"unsupported frontend protocol" in said
        assert neighbour_is_idle(neighbour)
        working = sum(relay.cpu_times()[:2])
        with connected(neighbour.endpoint.dsn) as connection:
            connection.execute("select pg_sleep(0.5)")
        assert sum(relay.cpu_times()[:2]) - working < 0.25
        if needs.IS_ROOT:
            # Its door, its events and the three that every program has, and two for who asks;
            # nobody but root looks into it.
            with connected(neighbour.endpoint.dsn) as connection:
                while relay.num_fds() > 7:
                    connection.execute("select pg_sleep(0.01)")


@needs.root
@pytest.mark.slow
def test_clients_wait_when_there_are_no_more_descriptors(neighbour: Server) -> None:
    relay = relay_of(neighbour)
    before = resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)
    address = ("127.0.0.1", neighbour.endpoint.port)
    with connected(neighbour.endpoint.dsn) as connection:
        used = relay.num_fds()
        resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (used, before[1]))
        try:
            with socket.create_connection(address, 300) as client:
                client.sendall(ENCRYPT)
                working = sum(relay.cpu_times()[:2])
                connection.execute("select pg_sleep(2.5)")
                assert sum(relay.cpu_times()[:2]) - working < 0.5
                resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, before)
                assert client.recv(1) == b"N"
        finally:
            resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, before)


class Choosing(Ports):
    def __init__(self, *ports: int) -> None:
        super().__init__()
        self._ports = list(ports)

    def pick(self) -> int:
        return self._ports.pop(0)


def test_a_server_and_its_clients_outlive_the_engine_and_leave_nothing(
    native: NativeRig, reachable_dir: Path
) -> None:
    free = Ports().pick()

    async def life(taken: int, data_dir: Path) -> tuple[psutil.Process, int]:
        store = reachable_dir / "strict"
        first = native_runtime(store, ports=Choosing(taken, free), sandbox=STRICT)
        server = await first.start(native.image, data_dir)
        with connected(server.endpoint.dsn) as early:
            relay = relay_of(server)
            await first.close()
            second = native_runtime(store, sandbox=STRICT)
            await second.clear_orphans([server])
            with connected(server.endpoint.dsn) as late:
                for one in (early, late):
                    assert one.execute(CLIENTS).fetchone() == (2,)
            await second.stop(server)
            with pytest.raises(psycopg.OperationalError, match="terminating connection"):
                early.execute("select 1")
        await second.close()
        return relay, server.endpoint.port

    with socket.create_server(("127.0.0.1", 0)) as listening:
        relay, port = asyncio.run(life(listening.getsockname()[1], native.cluster()))
    assert port == free
    assert not relay.is_running()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_no_engine_is_told_to_close_and_to_open_the_network(reachable_dir: Path) -> None:
    settings = SandboxSettings(level="strict", network=True)
    with pytest.raises(InvalidArgumentError, match="keeps servers from every network") as refused:
        native_runtime(reachable_dir, sandbox=settings).sandbox  # noqa: B018 - raises
    assert refused.value.remedy is not None
    assert "sandbox.network" in refused.value.remedy
