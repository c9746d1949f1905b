"""Programs that got away from who started them, found again by their mark.

Each program carries a mark, an environment variable, with the store it works for and a word for
this one run of it. Its children inherit the mark, so those who left its group are found by it, and
so are those who were left over by an engine that was killed.
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
"""The variable that tells whose a program is: ``<run>:<store>``."""

GRACE_SECONDS: Final = 1.0
"""How long a program may take to end after SIGTERM before it is killed."""

_ENGINE_LOCK = "/engine.lock"
"""What every engine holds open, and nobody else."""

_log = logging.getLogger(__name__)

# A process may hold several engines, each with a store of its own; it is the engine's tasks that
# start programs, through dozens of calls that need not know of it.
_store: ContextVar[str] = ContextVar("store", default="")


def mark_for(store: Path) -> None:
    """Mark the programs that this context starts from now on, with its tasks, as a store's."""
    _store.set(os.path.realpath(store))


def new_mark() -> str:
    """A mark for one run of a program."""
    return f"{uuid.uuid4().hex}:{_store.get()}"


def unmarked(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a program that shall outlive this process."""
    return {name: value for name, value in environment.items() if name != MARK}


async def end_leftovers(store: Path) -> None:
    """End the programs that an engine of this store left when it was killed, with their children.

    Those were started before this process. Other engines are spared, even if such a program
    started them, and so are the programs that started this one.
    """
    left = await processes.end_all(lambda: _leftovers(store), grace_seconds=GRACE_SECONDS)
    if left:
        _log.warning("processes of an earlier engine that do not end: %s", sorted(left))


async def end_orphans(group: int, mark: str) -> bool:
    """End those who carry the mark of a run and are not in its group; whether there were any."""
    met = False

    def find() -> list[int]:
        nonlocal met
        found = [
            pid
            for pid in processes.all_pids()
            if processes.environ(pid, MARK) == mark
            and processes.started(pid) is not None
            and not _is_in(pid, group)
            and not _is_engine(pid)
        ]
        met = met or bool(found)
        return found

    if left := await processes.end_all(find, grace_seconds=GRACE_SECONDS):
        _log.warning("processes that do not end: %s", sorted(left))
    return met


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
