"""What a test, unlike the rest of the engine, knows of a server: what its handle holds."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from pgstrata.domain.instance import Server
from pgstrata.system.cell import spawning


def data_dir_of(server: Server) -> Path:
    """Where a server of the native runtime or of that in memory works."""
    return Path(msgspec.json.decode(server.handle)["data_dir"])


def pid_of(server: Server) -> int:
    """Its process."""
    return int(server.runtime_id)


def started_by(pid: int, *stores: Path) -> Iterator[psutil.Process]:
    """What an engine has started, itself or through what starts its stores' cells.

    Any of it may end at any time.
    """
    for starter in (pid, *(one for store in stores for one in spawning.spawners(store))):
        with suppress(psutil.NoSuchProcess):
            yield from psutil.Process(starter).children(recursive=True)
