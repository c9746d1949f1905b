"""Removes installed servers, unless one still runs."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from pgstrata.errors import ConflictError, NotFoundError
from pgstrata.fetching.drafts import hidden
from pgstrata.runtime.images import version_key
from pgstrata.runtime.packaged.home import changing, clients, servers


def remove(home: Path, major: int, tell: Callable[[str], None] = print) -> tuple[str, ...]:
    """Remove every release of a major version, and client programs without links to them.

    Returns the versions removed. Raises ``NotFoundError`` if there are none, ``ConflictError`` if
    servers run from one.
    """
    _of_major(home, major)  # so that a home is not created only to find it empty
    with changing(home, lambda: tell("waiting for another install …")):
        found = _of_major(home, major)
        _check_unused(major, list(found.values()))
        for path in found.values():
            shutil.rmtree(hidden(path))
        for path, users in clients(home).items():
            if not users:
                shutil.rmtree(hidden(path))
    return tuple(found)


def _of_major(home: Path, major: int) -> dict[str, Path]:
    found = {
        version: path for version, path in servers(home).items() if version_key(version)[0] == major
    }
    if not found:
        raise NotFoundError(
            f"PostgreSQL {major} is not in {home}",
            remedy="`pgstrata postgres ls` shows what is installed, and from where",
        )
    return found


def _check_unused(major: int, directories: Sequence[Path]) -> None:
    running = [
        process
        for process in psutil.process_iter(["exe", "cwd", "ppid"])
        if any(
            Path(process.info["exe"] or "/").is_relative_to(directory.resolve())
            for directory in directories
        )
    ]
    pids = {process.pid for process in running}
    servers = [process for process in running if process.info["ppid"] not in pids]
    if servers:
        told = ", ".join(f"pid {one.pid} in {one.info['cwd'] or '?'}" for one in servers)
        raise ConflictError(
            f"PostgreSQL {major} is in use by {len(servers)} running server"
            f"{'s' if len(servers) > 1 else ''}: {told}",
            remedy="remove the instances (`pgstrata ls -i`, `pgstrata rm`), then try again",
        )
