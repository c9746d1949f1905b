"""Memory: an engine that does nothing, and a server that waits."""

import time

import psutil

from bench.client import Client
from bench.engine import Engine
from bench.report import Row
from tests.servers import started_by

_MIB = 1 << 20
_WAITING = 8
_IDLE_SECONDS = 3.0


def measure(engine: Engine) -> list[Row]:
    """The engine before its first job and after some, and servers that wait."""
    time.sleep(_IDLE_SECONDS)
    fresh = _private(engine.process)
    client = Client(engine)
    client.limit(_WAITING)
    first, _ = client.prepare()
    client.remove(first["instance_id"])
    client.keep_warm(first["state_id"], _WAITING)
    time.sleep(_IDLE_SECONDS)
    servers = [
        process
        for process in started_by(engine.process.pid, engine.store.parent, engine.store)
        if process.name() == "postgres"
    ]
    private = sum(map(_private, servers)) / _WAITING
    return [
        Row(what="engine that has just started", value=fresh / _MIB, unit="MiB", limit=65),
        Row(
            what=f"    that keeps {_WAITING} servers ready",
            value=_private(engine.process) / _MIB,
            unit="MiB",
        ),
        Row(what="private memory of a warm server", value=private / _MIB, unit="MiB", limit=10),
    ]


def _private(process: psutil.Process) -> int:
    """What would be free if it ended."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.NoSuchProcess:
        return 0
