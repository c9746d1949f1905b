"""Finding the engine of a store through the ``engine.json`` it wrote.

The file outlives an engine that was killed, and its pid and port may be others' by now: it is
believed only when its process lives and the engine that answers there says it is the same one.
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
    """The file's contents; None when it is missing, unreadable or not what an engine writes."""
    try:
        return decode(engine_json.read_bytes(), EngineFile)
    except (OSError, msgspec.DecodeError):
        return None


def find(engine_json: Path, timeout: float | None = None) -> Found | None:
    """The engine that wrote the file, its connection open, if it is there and is the same one.

    ``timeout`` is what requests to it may take, in seconds.
    """
    file = read(engine_json)
    if file is None or not alive(file.pid):
        return None
    try:
        http = Http(parse_endpoint(file.endpoint), file.auth_token, _HEALTH_SECONDS)
    except InvalidArgumentError:
        return None
    engine = Engine(http)
    if not _is_the_same(engine, file):
        engine.close()
        return None
    http.allow(timeout)
    return Found(file, engine)


def alive(pid: int) -> bool:
    """Whether a process with this number runs; one that only waits to be reaped does not."""
    try:
        # 0 and below would ask for whole process groups.
        if pid <= 0:
            return False
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return not _is_zombie(pid)


def wait_exit(pid: int, seconds: float) -> bool:
    """Wait for a process's end, for so long at most; whether it has ended."""
    deadline = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _is_zombie(pid: int) -> bool:
    # No one may ever reap it: the first process of a container often does not.
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # The name before the state is in brackets and may hold anything, brackets too.
    return fields.rpartition(b") ")[2].startswith(b"Z")


def _is_the_same(engine: Engine, file: EngineFile) -> bool:
    try:
        return engine.health().instance_id == file.instance_id
    except PgstrataError:
        return False
