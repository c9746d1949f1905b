"""What can be set, with the values an engine uses when nothing is."""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pgstrata.domain.model import Model

THROW_AWAY_SETTINGS: dict[str, str] = {
    # Nothing here must survive a power cut: a state is made durable as files, after the server has
    # stopped, and an instance is there to be thrown away.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # No replica will ever follow, so WAL need not carry what one would need.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Many servers share one machine, each with a handful of clients.
    "shared_buffers": "16MB",
    "max_connections": "50",
    # WAL kept for reuse is copied with every state.
    "min_wal_size": "32MB",
    "max_wal_size": "1GB",
}
"""PostgreSQL settings for databases that are thrown away; each can be overridden."""

OWN_SERVER_SETTINGS: dict[str, str] = {
    "listen_addresses": "servers listen on loopback alone",
    "port": "each server gets a free one",
    "unix_socket_directories": "sockets lie in the store",
    "hba_file": "access is the store's business",
    "ident_file": "access is the store's business",
    "client_encoding": "scripts are read as UTF-8",
    "standard_conforming_strings": "scripts are read with it on",
}
"""Server settings that nobody else may set, each with the reason."""


class LiquibaseSettings(Model, frozen=True, kw_only=True):
    """Where Liquibase comes from, and how many Javas run it."""

    home: Path | None = None
    """The directory with Liquibase's jars; None for where ``liquibase install`` puts them."""
    jars: tuple[Path, ...] = ()
    """More jars, or directories of them: extensions and custom changes."""
    java: Path | None = None
    """The program; None to look for it."""
    exec: Path | None = None
    """A Liquibase of the user's own that carries out every step; None for ours."""
    max_running: Annotated[int, msgspec.Meta(ge=1)] = max(2, os.cpu_count() or 1)
    """How many Javas work at once."""
    max_idle: Annotated[int, msgspec.Meta(ge=0)] = 2
    """How many wait for more work."""
    idle_seconds: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    """How long one waits."""


class Settings(Model, frozen=True, kw_only=True):
    """An engine's settings."""

    snapshot_backend: str = "auto"
    consistency: Literal["auto", "clean", "crash"] = "auto"
    """What states have to be like; see ``prepare.consistency``."""
    server_user: str | None = None
    """The operating system's user that servers run as when the engine is root; None to choose."""
    server_settings: dict[str, str] = {}
    """PostgreSQL settings, over ``THROW_AWAY_SETTINGS``."""
    max_parallel_jobs: Annotated[int, msgspec.Meta(ge=1)] = 2 * (os.cpu_count() or 1)
    max_identical_jobs: Annotated[int, msgspec.Meta(ge=0)] = 2
    """How many finished jobs with the same signature are kept; 0 for no limit."""
    finished_job_grace_seconds: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    """How long a finished job is kept at least, whatever ``max_identical_jobs`` says."""
    job_timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """How long any job may run, from its turn to its end; None for as long as it takes."""
    drain_seconds: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    """How long steps that run may take to reach their state when the engine is told to stop."""
    heartbeat_seconds: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    """How long a task may be silent before its last event is repeated."""

    liquibase: LiquibaseSettings = LiquibaseSettings()
    cache_max_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """The most that states may hold; None for a share of the disk (``capacity.DEFAULT_SHARE``)."""
    cache_reserve_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """What is to stay free on the store's disk; None for a share of it."""
    cache_high_watermark: float = 0.90
    """The part of what states may hold above which some are removed ..."""
    cache_low_watermark: float = 0.80
    """... and the part that is left then."""
    cache_min_state_age_seconds: Annotated[float, msgspec.Meta(ge=0)] = 600.0
    """No state is removed to make room before it is that old."""

    default_instance_ttl_seconds: Annotated[int, msgspec.Meta(gt=0)] | None = None
    """How long an instance lives when nobody says; None for as long as it is not removed."""
    max_instances: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many instances there may be; 0 for no limit."""
    min_free_memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 128 << 20
    """A server is only started while so much memory is available."""

    @property
    def own_server_settings(self) -> dict[str, str]:
        """Those of ``server_settings`` that servers would not have without being told."""
        return dict(self.server_settings.items() - THROW_AWAY_SETTINGS.items())
