"""A configuration: what the layers come to."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pgstrata.config.keys import Value

DEFAULT_IMAGE = "postgres"
"""The newest PostgreSQL there is."""

ENGINE_FILE = "engine.json"
LOG_FILE = "engine.log"


class Configuration(NamedTuple):
    """What a command works with. A setting that is None is left to the engine."""

    store: Path
    """Absolute."""
    endpoint: str | None = None
    """The URL of an engine that runs elsewhere; None for the store's own."""
    token: str | None = None
    image: str = DEFAULT_IMAGE
    timeout: float | None = None
    """Seconds to wait for the engine; None for as long as it takes."""
    snapshot_backend: str | None = None
    snapshot_consistency: str | None = None
    server_user: str | None = None
    server_settings: Mapping[str, str] = {}
    liquibase: Mapping[str, tuple[Path, ...]] = {}
    """What ``liquibase.home``, ``jars``, ``java`` and ``exec`` say, absolute."""
    max_parallel: int | None = None
    max_identical: int | None = None
    job_timeout: int | None = None
    """Seconds any job may run."""
    drain_timeout: int | None = None
    """Seconds steps that run may take when the engine is told to stop."""
    engine: Mapping[str, Value] = {}
    """What else is set of the keys that are the engine's (``keys.ENGINE_FIELDS``), by key."""

    @property
    def engine_json(self) -> Path:
        """Where the store's engine says how to reach it."""
        return self.store / ENGINE_FILE

    @property
    def engine_log(self) -> Path:
        """What an engine in the background writes."""
        return self.store / LOG_FILE
