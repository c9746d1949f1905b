"""Finds the engine of a store through the ``engine.json`` it wrote.

The file outlives an engine that was killed, and its pid and port may have been reused: it counts
only if its process runs and the engine that answers there is the same one.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from pgstrata.api.codec import decode
from pgstrata.api.discovery import EngineFile
from pgstrata.client.engine import Engine
from pgstrata.client.http import Http, parse_endpoint
from pgstrata.errors import InvalidArgumentError, PgstrataError

_HEALTH_SECONDS = 5.0
_POLL_SECONDS = 0.02


class Found(NamedTuple):
    """An engine that answered, and the file that led to it."""

    file: EngineFile
    engine: Engine


def read(engine_json: Path) -> EngineFile | None:
    """The file's contents; None if it is missing, unreadable or not an engine's."""
    try:
        return decode(engine_json.read_bytes(), EngineFile)
    except (OSError, msgspec.DecodeError):
        return None


def find(engine_json: Path, timeout: float | None = None) -> Found | None:
    """The engine that wrote the file, with an open connection, if it is still running.

    ``timeout`` limits requests to it, in seconds.
    """
    file = read(engine_json)
    if file is None or not alive(file.pid):
        return None
    try:
        http = Http(
            parse_endpoint(file.endpoint),
            file.auth_token,
            _HEALTH_SECONDS,
            certificate=file.certificate,
        )
    except InvalidArgumentError:
        return None
    engine = Engine(http, file.version)
    if not _is_the_same(engine, file):
        engine.close()
        return None
    http.allow(timeout)
    return Found(file, engine)


def alive(pid: int) -> bool:
    """Whether a process with this pid runs; a zombie does not."""
    try:
        # 0 and below would mean whole process groups.
        if pid <= 0:
            return False
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return not _is_zombie(pid)


def wait_exit(pid: int, seconds: float) -> bool:
    """Wait for a process's exit, for at most this long, and return whether it has ended."""
    deadline = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _is_zombie(pid: int) -> bool:
    # It may never be reaped: the first process of a container often does not.
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # The name before the state is in brackets and may contain anything, even brackets.
    return fields.rpartition(b") ")[2].startswith(b"Z")


def _is_the_same(engine: Engine, file: EngineFile) -> bool:
    try:
        return engine.health().instance_id == file.instance_id
    except PgstrataError:
        return False
