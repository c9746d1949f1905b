"""A dbms for component tests: the data directories of ``MemoryRuntime``, read from its disk."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pgstrata.domain.instance import Server
from pgstrata.domain.model import Model, from_plain, to_plain
from pgstrata.errors import ServerError, StateUnusableError
from pgstrata.system.memory_disk import MemoryDisk

PID_FILE = Path("postmaster.pid")
CONTROL_FILE = Path("global", "pg_control")
CLEAN = b"shut down"
IN_PRODUCTION = b"in production"
UNLOGGED = Path("unlogged")
"""A file that names an unlogged relation, if there is one."""
DAMAGED = Path("damaged")
"""A file that is there if a page is damaged."""
SETTINGS_FILE = Path("postgresql.auto.conf")
SETTLED = Path("settled")
"""A file that is there in what was settled."""
SETTLING = {"autovacuum": "off"}

_CUT_SHORT = "the control file is cut short"
_CONTROL_DEFECTS = {
    CLEAN: None,
    IN_PRODUCTION: "the cluster was not shut down cleanly: it is in production",
    None: "the control file is missing",
}


class MemoryProcess(Model, frozen=True, kw_only=True):
    """A server that is an entry of a table: the content of its handle."""

    pid: int
    image_id: str
    data_dir: Path

    @property
    def handle(self) -> str:
        """All fields as text."""
        return msgspec.json.encode(self, enc_hook=to_plain).decode()


_decode = msgspec.json.Decoder(MemoryProcess, dec_hook=from_plain).decode


def process_of(server: Server) -> MemoryProcess:
    """The table's entry of a server in memory."""
    return _decode(server.handle)


class MemoryDbms:
    """Reads data directories whose files contain plain words.

    A tablespace is a file below ``pg_tblspc`` that contains the path of its location.
    """

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self.clients: dict[str, int] = {}
        """How many clients are connected to the server of this ``runtime_id``, if there are any."""
        self.settling = asyncio.Event()
        """Set once anything is settled."""
        self.settling_hangs = False

    async def defect(self, data_dir: Path, *, recovers: bool = False) -> str | None:
        if not self._disk.exists(data_dir):
            return "there is no data directory"
        version = self._disk.read(data_dir / "PG_VERSION")
        if version is None or not version.strip():
            return "PG_VERSION is missing" if version is None else "PG_VERSION is empty"
        if self._disk.exists(data_dir / PID_FILE):
            return "postmaster.pid was left behind by a server"
        control = self._disk.read(data_dir / CONTROL_FILE)
        if recovers and control in (CLEAN, IN_PRODUCTION):
            return "the cluster was not in use: it is shut down" if control == CLEAN else None
        return _CONTROL_DEFECTS.get(control, _CUT_SHORT)

    async def lost_in_crash(self, data_dir: Path) -> str | None:
        unlogged = self._disk.read(data_dir / UNLOGGED)
        return None if unlogged is None else f"unlogged relation {unlogged.decode()}"

    async def start_settings(self, data_dir: Path) -> bytes:
        return self._disk.read(data_dir / SETTINGS_FILE) or b""

    def is_as_started(self, data_dir: Path, settings: bytes) -> bool:
        return (self._disk.read(data_dir / SETTINGS_FILE) or b"") == settings and not (
            self._disk.children(data_dir / "pg_replslot")
            or self._disk.children(data_dir / "pg_tblspc")
        )

    def tool_environment(self, server: Server) -> dict[str, str]:
        return {}

    async def databases(self, server: Server) -> tuple[str, ...]:
        self._check_it_answers(server)
        return ("postgres",)

    async def count_rows(self, server: Server, database: str) -> dict[str, int]:
        """The steps that were run count as the rows of one table."""
        self._check_it_answers(server)
        steps = self._disk.read(process_of(server).data_dir / "steps") or b""
        return {"public.steps": len(steps.split())}

    async def damage(self, server: Server) -> str | None:
        self._check_it_answers(server)
        if self._disk.exists(process_of(server).data_dir / DAMAGED):
            return "a page is damaged"
        return None

    async def lets_in(self, server: Server) -> bool:
        try:
            self._check_it_answers(server)
        except ServerError:
            return False
        return True

    async def flush(self, server: Server) -> None:
        self._check_it_answers(server)

    async def drop_replication_slots(self, server: Server, data_dir: Path) -> tuple[str, ...]:
        slots = self._disk.children(data_dir / "pg_replslot")
        for slot in slots:
            self._check_it_answers(server)
            self._disk.remove_tree(slot)
        return tuple(slot.name for slot in slots)

    @contextmanager
    def hide_server(self, data_dir: Path) -> Iterator[None]:
        pid_file = data_dir / PID_FILE
        content = self._disk.read(pid_file)
        self._disk.remove_tree(pid_file)
        try:
            yield
        finally:
            if content is not None:
                self._disk.write(pid_file, content)

    def forget_server(self, data_dir: Path) -> None:
        self._disk.remove_tree(data_dir / PID_FILE)

    async def check_snapshot(self, data_dir: Path) -> None:
        for link in self._disk.children(data_dir / "pg_tblspc"):
            location = (self._disk.read(link) or b"").decode()
            raise StateUnusableError(
                f"tablespace {link.name} is kept in {location}, which all copies would share"
            )

    @property
    def settling_settings(self) -> Mapping[str, str]:
        return SETTLING

    async def settle(self, server: Server) -> tuple[str, ...]:
        """Leaves a file that says so, or never ends."""
        self._check_it_answers(server)
        self.settling.set()
        if self.settling_hangs:
            await asyncio.get_running_loop().create_future()
        self._disk.write(process_of(server).data_dir / SETTLED, b"")
        return ()

    async def connections(self, server: Server) -> int:
        self._check_it_answers(server)
        return self.clients.get(server.runtime_id, 0)

    def _check_it_answers(self, server: Server) -> None:
        process = process_of(server)
        pid_file = self._disk.read(process.data_dir / PID_FILE)
        if pid_file is None or int(pid_file.split()[0]) != process.pid:
            raise ServerError(f"{server.title} does not answer")
