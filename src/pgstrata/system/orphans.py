"""Programs that outlived the one that started them, found by their mark.

Each program has a mark, an environment variable with the store that it works for and an id of this
run. Its children inherit the mark, so it leads to those that left the process group, and to those
that a killed engine left behind.
"""

import logging
import os
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from pgstrata.system import processes

MARK: Final = "PGSTRATA_PROGRAM"
"""The variable that identifies a program's run and store: ``<run>:<store>``."""

GRACE_SECONDS: Final = 1.0
"""How long a program may take to end after SIGTERM before it is killed."""

_ENGINE_LOCK = "/engine.lock"
"""A file that every engine has open, and no other process."""

_log = logging.getLogger(__name__)

# A process may have several engines, each with its own store; an engine's tasks start programs
# through dozens of calls that need not know about it.
_store: ContextVar[str] = ContextVar("store", default="")


def mark_for(store: Path) -> None:
    """Mark the programs that this context and its tasks start from now on as a store's."""
    _store.set(os.path.realpath(store))


def new_mark() -> str:
    """A mark for one run of a program."""
    return f"{uuid.uuid4().hex}:{_store.get()}"


def unmarked(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a program that outlives this process."""
    return {name: value for name, value in environment.items() if name != MARK}


async def end_leftovers(store: Path) -> None:
    """End the programs that a killed engine of this store left behind, with their children.

    Only programs started before this process are ended. Other engines are spared, even if such a
    program started them, and so are the programs that started this one.
    """
    left = await processes.end_all(lambda: _leftovers(store), grace_seconds=GRACE_SECONDS)
    if left:
        _log.warning("processes of an earlier engine that do not end: %s", sorted(left))


async def end_orphans(group: int, mark: str) -> bool:
    """End the processes with the mark of a run outside its group; whether there were any."""
    found_any = False

    def find() -> list[int]:
        nonlocal found_any
        found = [
            pid
            for pid in processes.all_pids()
            if processes.environ(pid, MARK) == mark
            and processes.started(pid) is not None
            and not _is_in(pid, group)
            and not _is_engine(pid)
        ]
        found_any = found_any or bool(found)
        return found

    if left := await processes.end_all(find, grace_seconds=GRACE_SECONDS):
        _log.warning("processes that do not end: %s", sorted(left))
    return found_any


def _leftovers(store: Path) -> list[int]:
    store_path, us = os.path.realpath(store), os.getpid()
    now, spared = processes.started(us) or 0, {us, *processes.ancestors(us)}
    return [
        pid
        for pid in processes.all_pids()
        if (processes.environ(pid, MARK) or "").partition(":")[2] == store_path
        and pid not in spared
        and 0 < (processes.started(pid) or 0) <= now
        and not _is_engine(pid)
    ]


def _is_engine(pid: int) -> bool:
    return any(path.endswith(_ENGINE_LOCK) for path in processes.open_files(pid))


def _is_in(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return False
