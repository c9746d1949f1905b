"""What a test, unlike the rest of the engine, knows of a server: what its handle holds."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from pgstrata.dbms.tablespaces import DATA_DIR
from pgstrata.domain.instance import Server
from pgstrata.system import processes
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


def works_below(pid: int, root: Path) -> bool:
    """Whether a process works in a directory below ``root``, whatever path that has in its cell."""
    where = processes.working_dir(pid)
    if where != DATA_DIR:
        return where is not None and Path(where).is_relative_to(root)
    if any(processes.works_in(pid, place) for place in _data_dirs(root)):
        return True
    # Its directory may have been removed; then its store is known.
    starters = (one for one in processes.ancestors(pid) if not spawning.is_in_cell(one))
    stores = (processes.environ(one, spawning.CELLS) for one in starters)
    return any(store is not None and Path(store).is_relative_to(root) for store in stores)


def _data_dirs(root: Path) -> Iterator[Path]:
    for directory, below, _ in os.walk(root):
        if Path(directory).name == "data":
            below.clear()
            yield Path(directory)
