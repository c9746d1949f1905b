"""What is shown of instances, names and the engine, where it differs from what is stored."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pgstrata.domain.image import Installation
from pgstrata.domain.model import Model

InstanceStatus = Literal["active", "expired", "orphaned"]
"""``expired``: past its time to live; ``orphaned``: its server or its state is not there."""

NameStatus = Literal["active", "missing", "expired"]
"""``missing``: the instance it stands for is gone."""


class InstanceEntry(Model, frozen=True, kw_only=True):
    """One instance, as it is listed."""

    instance_id: str
    image_id: str
    state_id: str
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    status: InstanceStatus
    dsn: str | None = None
    extensions: int = 0
    """How often it was given more time because clients were connected when its time was over."""
    connections: int | None = None
    """How many clients are connected; None when that is not known."""


class NameEntry(Model, frozen=True, kw_only=True):
    """One name that was given to an instance, as it is listed."""

    name: str
    instance_id: str | None
    image_id: str
    state_id: str
    state_fingerprint: str
    status: NameStatus
    last_used_at: datetime | None


class Health(Model, frozen=True, kw_only=True, rename="camel"):
    """That an engine answers, and which one it is: all that is told without a token."""

    ok: bool
    version: str
    instance_id: str
    """Drawn anew at each start of an engine, so that a stale discovery file is noticed."""
    pid: int


class EngineIdentity(Model, frozen=True, kw_only=True, rename="camel"):
    """Which engine this is, in the words of its discovery file."""

    version: str
    instance_id: str
    pid: int
    started_at: datetime
    endpoint: str | None = None
    """The URL it listens at."""


class StoreStatus(Model, frozen=True, kw_only=True):
    """Where an engine keeps everything."""

    path: Path


class RuntimeStatus(Model, frozen=True, kw_only=True):
    """What an engine runs servers with."""

    server_user: str | None
    """The operating system's user that servers run as; None for the engine's own."""
    installations: tuple[Installation, ...]


class SnapshotStatus(Model, frozen=True, kw_only=True):
    """Which snapshot backend is in use."""

    backend: str
    why: str
    """Why this one and no faster one, for people."""
    mounts: str
    """How the engine may mount, which overlay takes, or why it may not; for people."""


class Counts(Model, frozen=True, kw_only=True):
    """How much of everything there is."""

    jobs_queued: int
    jobs_running: int
    jobs_finished: int
    states: int
    instances: int


class EngineStatus(Model, frozen=True, kw_only=True):
    """An engine, described for whoever runs it."""

    engine: EngineIdentity
    store: StoreStatus
    runtime: RuntimeStatus
    snapshots: SnapshotStatus
    counts: Counts
