"""PostgreSQL as it is, the limit that others are compared with."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg

from bench.engine import PASSWORD, QUERY, Engine, answer
from pgstrata.statefs import detect
from pgstrata.statefs.base import DATA


class BareServer:
    """PostgreSQL with its own defaults and nothing around it, on clones of the same state."""

    def __init__(self, engine: Engine, state: Path, directory: Path) -> None:
        self._engine = engine
        self._state = state
        self._directory = directory
        self._fs = detect.backend(engine.backend)
        self._user = self._state.joinpath(DATA).owner()
        directory.mkdir(mode=0o711, exist_ok=True)
        self._port = _free_port()
        self._numbers = itertools.count()
        self._sockets = directory / "sockets"
        self._sockets.mkdir(exist_ok=True)
        shutil.chown(self._sockets, self._user)

    def time_start(self) -> float:
        """Milliseconds from starting the server to its first answer; the clone is there before."""
        return asyncio.run(self._time_start())

    async def _time_start(self) -> float:
        async with self.clone() as place:
            started = time.perf_counter()
            with self._server(place / DATA):
                # The same client, coming the same way as with a prepared instance.
                self._ask(f"host=127.0.0.1 password={PASSWORD}", QUERY)
                return (time.perf_counter() - started) * 1000

    @contextlib.asynccontextmanager
    async def clone(self) -> AsyncIterator[Path]:
        """A clone of the state, for as long as it is needed."""
        place = self._directory / f"clone-{next(self._numbers)}"
        await self._fs.clone(self._state, place)
        try:
            yield place
        finally:
            await self._fs.remove(place)

    def time_from_scratch(self) -> float:
        """Milliseconds for a cluster made, started and filled without any copy to start from."""
        data = self._directory / "scratch"
        started = time.perf_counter()
        subprocess.run(
            [
                self._engine.bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust",
                "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8",
            ],
            check=True, capture_output=True, user=self._own(self._directory),
        )  # fmt: skip
        with self._server(data):
            self._ask(f"host={self._sockets}", "select 1")
            subprocess.run(
                [
                    self._engine.bin_dir / "psql", "-X", "-q", "-h", self._sockets,
                    "-p", str(self._port), "-U", "postgres", "-f", self._engine.script,
                ],
                check=True, capture_output=True,
            )  # fmt: skip
            return (time.perf_counter() - started) * 1000

    def _own(self, directory: Path) -> str | None:
        if os.geteuid() != 0:
            return None
        shutil.chown(directory, self._user)
        return self._user

    @contextlib.contextmanager
    def _server(self, data: Path) -> Iterator[None]:
        hba = self._directory / "pg_hba.conf"
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server = subprocess.Popen(
            [
                self._engine.bin_dir / "postgres", "-D", data, "-k", self._sockets,
                "-p", str(self._port), "-c", f"hba_file={hba}",
                "-c", "listen_addresses=127.0.0.1",
            ],
            stderr=subprocess.DEVNULL, user=self._own(self._directory),
        )  # fmt: skip
        try:
            yield
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()

    def _ask(self, conninfo: str, query: str) -> None:
        """Ask until there is an answer, as fast as a client can."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                answer(f"{conninfo} port={self._port} user=postgres dbname=postgres", query)
                return
            time.sleep(0.001)
        raise RuntimeError("the bare server did not answer within a minute")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
