"""What hostile tests share: an engine to attack, and a neighbour."""

import asyncio
import ctypes
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pgstrata.domain.instance import Server
from tests import needs
from tests.acceptance.conftest import begun_store, pgstrata
from tests.clusters import NativeRig, rig_below
from tests.contract.conftest import btrfs_mount, ext4_mount
from tests.hostile.cells import identity
from tests.integration.conftest import kind, place_of_work, runner, work
from tests.servers import data_dir_of

__all__ = [
    "begun_store",
    "btrfs_mount",
    "ext4_mount",
    "kind",
    "pgstrata",
    "place_of_work",
    "runner",
    "work",
]

KEY = 0x7067_0000 | os.getpid() & 0xFFFF
LIBC = ctypes.CDLL(None)


@pytest.fixture(scope="module")
def native(reachable_dir: Path, request: pytest.FixtureRequest) -> Iterator[NativeRig]:
    """Servers in cells; a module may have others."""
    with rig_below(reachable_dir / request.module.__name__.rpartition("_")[2], "15") as native:
        if native.native.sandbox.level != "basic":
            needs.missing(f"there are no cells here: {native.native.sandbox.missing}")
        yield native


@pytest.fixture(scope="module")
def neighbour(native: NativeRig) -> Iterator[Server]:
    server = asyncio.run(native.runtime.start(native.image, native.cluster()))
    yield server
    asyncio.run(native.runtime.stop(server, clean=False))


@pytest.fixture(scope="module")
def own(native: NativeRig) -> Path:
    """The attacker's own data directory."""
    return native.cluster()


@pytest.fixture(scope="module")
def there(native: NativeRig, neighbour: Server, own: Path) -> Iterator[dict[str, Any]]:
    """Where the neighbour is, and what else an attacker may look for."""
    endpoint = neighbour.endpoint
    with ExitStack() as open_until_then:
        abstract = open_until_then.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0pgstrata-{os.getpid()}")
        abstract.listen()
        readable, writable, shared = (
            open_until_then.enter_context(tempfile.NamedTemporaryFile(dir=directory))
            for directory in ("/tmp", "/tmp", "/dev/shm")
        )
        for file in (readable, writable, shared):
            Path(file.name).chmod(0o666)
        victim = open_until_then.enter_context(
            subprocess.Popen(["/bin/sleep", "600"], **identity(native))
        )
        open_until_then.callback(victim.kill)
        segment = LIBC.shmget(KEY, 4096, 0o1666)
        open_until_then.callback(LIBC.shmctl, segment, 0, None)
        yield {
            "data": str(data_dir_of(neighbour)),
            "own": str(own),
            "socket": str(endpoint.socket_dir / f".s.PGSQL.{endpoint.port}"),
            "port": endpoint.port,
            "pid": victim.pid,
            "abstract": f"pgstrata-{os.getpid()}",
            "readable": readable.name,
            "writable": writable.name,
            "shm": shared.name,
            "key": KEY,
        }
