"""Looking a store over: what its rows say, what lies on its disk, and what runs in it."""

import json
import os
import select
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil

from pgstrata.runtime.access import socket_dir_for
from tests.servers import works_below

ROOT_ENTRIES = frozenset(
    {
        "bases",
        "building",
        "engine.json",
        "engine.lock",
        "instances",
        "pgstrata.db",
        "pgstrata.db-shm",
        "pgstrata.db-wal",
        "reserve",
        "reserve-files",
        "run",
        "settled",
        "snapshot-backend",
        "states",
        "work",
    }
)
SUBVOLUME_INODE = 256
LAYER = "layer"
"""What overlay mounts hold of the place they lie over."""
LAST_WORDS_SECONDS = 60
"""How long programs that a killed engine left may take to notice."""


LOOK_SECONDS = 0.05


def leftovers(store: Path, engine_pid: int | None) -> list[str]:
    """What is in a store and should not be, or is not and should. Only while no job runs.

    What is removed goes in the background: only what stays is left over.
    """
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    while (found := _leftovers(store, engine_pid)) and time.monotonic() < deadline:
        select.select([], [], [], LOOK_SECONDS)
    return found


def _leftovers(store: Path, engine_pid: int | None) -> list[str]:
    rows = Rows(store)
    warm = set() if engine_pid is None else _warm(store, rows)
    return [
        *_entries(store, rows, warm),
        *_hidden(store),
        *_sockets(store, rows, warm),
        *(f"{item} is still being built by {owner}" for item, owner in rows.leases),
        *_subvolumes(store),
        *_mounts(store, rows, warm),
        *_processes(store, rows, warm, engine_pid),
        *_jobs(rows),
    ]


class Rows:
    """Everything in a store's database."""

    def __init__(self, store: Path) -> None:
        with closing(sqlite3.connect(f"file:{store / 'pgstrata.db'}?mode=ro", uri=True)) as db:
            self.states = {row[0] for row in db.execute("SELECT state_id FROM states")}
            self.instances: dict[str, Any] = {
                row[0]: json.loads(row[1])
                for row in db.execute("SELECT instance_id, body FROM instances")
            }
            self.leases = db.execute("SELECT item, owner FROM build_leases").fetchall()
            self.jobs: dict[str, Any] = {
                row[0]: json.loads(row[1]) for row in db.execute("SELECT job_id, body FROM jobs")
            }
            self.events: dict[str, list[Any]] = {job_id: [] for job_id in self.jobs}
            for job_id, body in db.execute("SELECT job_id, body FROM events ORDER BY number"):
                self.events[job_id].append(json.loads(body))

    @property
    def pids(self) -> set[int]:
        """The servers of the instances."""
        return {int(instance["server"]["runtime_id"]) for instance in self.instances.values()}


def _warm(store: Path, rows: Rows) -> set[str]:
    """The servers that an engine which runs keeps for whoever asks next."""
    instances = store / "instances"
    return {name for name in _names(instances) if (instances / name / "waiting").exists()} - set(
        rows.instances
    )


def _entries(store: Path, rows: Rows, warm: set[str]) -> Iterator[str]:
    found = _all_names(store)
    yield from (f"{name} lies in the store" for name in sorted(found - ROOT_ENTRIES))
    for area in ("building", "work"):
        yield from (f"{area} holds {name}" for name in _names(store / area))
    for area, known in (("states", rows.states), ("instances", set(rows.instances))):
        there = set(_names(store / area)) - warm
        yield from (f"{area}/{name} has no row" for name in sorted(there - known))
        yield from (f"{area} has a row but no place {name}" for name in sorted(known - there))
    for area in ("states", "bases"):
        for name in _names(store / area):
            here = _all_names(store / area / name)
            if here - {LAYER, "digest", "content"} != {"data", "marker"}:
                yield f"{area}/{name} holds {sorted(here)}"


def _names(area: Path) -> list[str]:
    """What can be seen in an area."""
    return sorted(name for name in _all_names(area) if not name.startswith("."))


def _all_names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def _hidden(store: Path) -> Iterator[str]:
    areas = (
        store / area for area in ("", "bases", "building", "instances", "settled", "states", "work")
    )
    for area in (*areas, socket_dir_for(store)):
        with suppress(FileNotFoundError):
            for name in sorted(_all_names(area)):
                mine = name.startswith(".") and not name.startswith(".s.PGSQL.")
                if mine and not _is_held(area / name):
                    yield f"{area}/{name} was left hidden"


def _is_held(place: Path) -> bool:
    """Whether clones lie over a place: it goes with the last of them."""
    try:
        return (place / LAYER).lstat().st_nlink > 1
    except FileNotFoundError:
        return False


def _sockets(store: Path, rows: Rows, warm: set[str]) -> Iterator[str]:
    places = (Path(one["server"]["endpoint"]["socket_dir"]) for one in rows.instances.values())
    expected = {place.parent.name for place in places}
    others = sorted(_all_names(socket_dir_for(store)) - expected)
    for name in others if len(others) > len(warm) else ():
        yield f"the socket {name} is no living server's"


def _subvolumes(store: Path) -> Iterator[str]:
    """Subvolumes anywhere but where a place keeps its data."""
    for directory, names, _ in os.walk(store):
        for name in names:
            path = Path(directory, name)
            parts = path.relative_to(store).parts
            with suppress(FileNotFoundError):
                if path.stat().st_ino == SUBVOLUME_INODE and (
                    len(parts) != 3 or parts[0] not in ("bases", "states", "settled", "instances")
                ):
                    yield f"{path.relative_to(store)} is a subvolume"
        if len(Path(directory).relative_to(store).parts) >= 2:
            names.clear()


def _mounts(store: Path, rows: Rows, warm: set[str]) -> Iterator[str]:
    known = warm | set(rows.instances)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        where = line.split()[1]
        if where.startswith(f"{store}/") and Path(where).parent.name not in known:
            yield f"{where} is mounted"


def _processes(store: Path, rows: Rows, warm: set[str], engine_pid: int | None) -> Iterator[str]:
    known = _known(rows, engine_pid)
    for process in inhabitants(store):
        with suppress(psutil.NoSuchProcess):
            # Where it works may be seen by its engine only; but nothing else is stopped.
            if warm and process.status() == psutil.STATUS_STOPPED:
                continue
            if process.pid not in known and process.ppid() not in known:
                yield f"process {process.pid} runs: {' '.join(process.cmdline())[:300]}"
    for pid in rows.pids:
        if not psutil.pid_exists(pid):
            yield f"server {pid} of an instance is gone"


def _known(rows: Rows, engine_pid: int | None) -> set[int]:
    known = {os.getpid()} | rows.pids
    if engine_pid is not None:
        known.add(engine_pid)
    for pid in rows.pids:
        with suppress(psutil.NoSuchProcess):
            known |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return known


def wait_for_ends(processes: Iterable[psutil.Process], seconds: float) -> None:
    """Wait until these have ended, so long at most. What nobody has reaped has ended, too."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process.pid)
            try:
                select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(descriptor)


def inhabitants(store: Path) -> list[psutil.Process]:
    """The processes that work in a store, or name it on their command line."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if works_below(process.pid, store) or any(
                str(store) in word for word in process.cmdline()
            ):
                found.append(process)
    return found


def _jobs(rows: Rows) -> Iterator[str]:
    results = Counter(
        job["result"]["instance_id"] for job in rows.jobs.values() if job.get("result")
    )
    yield from (
        f"instance {instance_id} is no job's result"
        for instance_id in rows.instances
        if results[instance_id] != 1
    )
    for job_id, events in rows.events.items():
        status = rows.jobs[job_id]["status"]
        if reason := disorder(events, status):
            yield f"job {job_id} ({status}) {reason}: {told(events)}"


def told(events: list[Any]) -> list[str]:
    """Events in a few words."""
    return [
        " ".join(filter(None, (event["type"], event.get("task_id"), event.get("status"))))
        for event in events
    ]


def disorder(events: list[Any], status: str) -> str | None:
    """What is wrong with the order of a finished job's events, if anything."""
    said = [(event["type"], event.get("status")) for event in events]
    statuses = [status for kind, status in said if kind == "status"]
    if status not in ("succeeded", "failed"):
        return "has not ended"
    if statuses not in (["queued", "running", status], ["queued", status]):
        return f"had the statuses {statuses}"
    if said[0] != ("status", "queued") or said[-1] != ("status", status):
        return "did not begin or end with its status"
    ends = [kind for kind, _ in said if kind in ("result", "error")]
    if len(ends) != 1 or said[-2][0] != ends[0]:
        return "did not say its end once, right before the last status"
    if (ends == ["result"]) != (status == "succeeded"):
        return f"said {ends[0]}"
    between = said[2:-2] if "running" in statuses else said[1:-2]
    if any(kind not in ("task", "log") for kind, _ in between):
        return "said something else between"
    return None
