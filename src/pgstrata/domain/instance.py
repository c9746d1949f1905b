"""An instance: a writable clone of a state with a running server."""

from datetime import datetime
from pathlib import Path

from pgstrata.domain.model import Model


class Server(Model, frozen=True, kw_only=True):
    """A running PostgreSQL server, told apart from every other by pid and birth."""

    pid: int
    started: float
    """When the process started, in seconds since the epoch: only as right as the clock."""
    image_id: str
    data_dir: Path
    socket_dir: Path
    host: str
    port: int
    birth: str | None = None
    """What the kernel tells of the process's start that no clock moves (``processes.birth``).
    None where the kernel does not tell it, and in rows written before it was noted."""


class Instance(Model, frozen=True, kw_only=True):
    """One instance. It is stored only once it is whole."""

    instance_id: str
    """32 lower-case hex characters."""
    image_id: str
    state_id: str
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    server: Server
    dsn: str
    extensions: int = 0
    """How often its time was over while clients were connected, so that it was given more."""
