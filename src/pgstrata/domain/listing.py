"""Instances, names and the engine as they are shown, where that differs from what is stored."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pgstrata.domain.image import Installation
from pgstrata.domain.model import Model
from pgstrata.domain.warmth import PoolStatus

InstanceStatus = Literal["active", "expired", "orphaned"]
"""``expired``: past its time to live; ``orphaned``: its server or its state is gone."""

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
    """How often it was given more time because clients were connected when its time was up, or may
    have been: its server could not be asked."""
    connections: int | None = None
    """How many clients are connected; None if unknown."""
    stopped: str | None = None
    """Why it has no server, and what to do about that, for people."""


class NameEntry(Model, frozen=True, kw_only=True):
    """One name of an instance, as it is listed."""

    name: str
    instance_id: str | None
    image_id: str
    state_id: str
    state_fingerprint: str
    status: NameStatus
    last_used_at: datetime | None
    """When an instance got it last."""
    dsn: str | None = None
    """Of the instance that has it."""


class ImageEntry(Model, frozen=True, kw_only=True):
    """A PostgreSQL that an image stands for."""

    image_id: str
    """``postgres@sha256:<64 hex>``."""
    version: str
    """As PostgreSQL writes it, such as ``16.4``."""


class Health(Model, frozen=True, kw_only=True, rename="camel"):
    """That an engine responds, and which one it is: all that is revealed without a token."""

    ok: bool
    version: str
    instance_id: str
    """Chosen anew at each start of an engine, so that a stale discovery file is noticed."""
    pid: int


class EngineIdentity(Model, frozen=True, kw_only=True, rename="camel"):
    """Which engine this is, in the terms of its discovery file."""

    version: str
    instance_id: str
    pid: int
    started_at: datetime
    endpoint: str | None = None
    """The URL it listens on."""


class StoreStatus(Model, frozen=True, kw_only=True):
    """Where an engine keeps everything."""

    path: Path
    image: Path | None = None
    """The file with a btrfs of its own, if it is on one."""
    image_bytes: int | None = None
    """How large that btrfs is."""
    image_held_bytes: int | None = None
    """What the file takes where it is."""


class RuntimeStatus(Model, frozen=True, kw_only=True):
    """How an engine runs servers."""

    server_user: str | None
    """The operating system user that servers run as; None for the engine's own."""
    installations: tuple[Installation, ...]


class SnapshotStatus(Model, frozen=True, kw_only=True):
    """Which snapshot backend is in use."""

    backend: str
    why: str
    """Why this one and not a faster one, for people."""
    mounts: str
    """How the engine may mount, which overlay requires, or why it may not; for people."""
    advice: str | None = None
    """What would be better for this store, for people."""


class SandboxStatus(Model, frozen=True, kw_only=True):
    """How servers are kept from everything else."""

    level: str
    """``strict``, ``basic``, ``partial`` or ``off``."""
    missing: tuple[str, ...]
    """What the system lacks for a better level, for people."""
    open_attacks: tuple[str, ...]
    """What a server's users can do to others all the same, for people."""


class Counts(Model, frozen=True, kw_only=True):
    """How many jobs, states and instances there are."""

    jobs_queued: int
    jobs_running: int
    jobs_finished: int
    states: int
    instances: int


class EngineStatus(Model, frozen=True, kw_only=True):
    """An engine, described for the person who runs it."""

    engine: EngineIdentity
    store: StoreStatus
    runtime: RuntimeStatus
    snapshots: SnapshotStatus
    counts: Counts
    sandbox: SandboxStatus | None = None
    """None from an engine that had none."""
    pool: PoolStatus | None = None
    """None from an engine that had none."""
