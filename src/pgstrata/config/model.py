"""What a command works with: its own settings, each once, and what was said for the engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pgstrata.domain.durations import Seconds
from pgstrata.domain.setting import Setting

ENGINE_FILE = "engine.json"
LOG_FILE = "engine.log"


class Configuration(NamedTuple):
    """What a command works with: settings of its own, and what was said for the engine."""

    store: Annotated[
        Path,
        Setting(
            "the directory with everything in it",
            default="`/var/lib/pgstrata` for root, otherwise `~/.local/share/pgstrata`",
            option="--store DIR",
        ),
    ]
    """Absolute."""
    endpoint: Annotated[
        str | None,
        Setting(
            "the address of an engine that runs elsewhere",
            default="the store's own engine",
            option="--endpoint URL",
        ),
    ] = None
    token: Annotated[
        str | None,
        Setting("the token for that engine", secret=True),
    ] = None
    image: Annotated[
        str,
        Setting(
            "which PostgreSQL: postgres is the newest, postgres:17 the newest of that major",
            option="--image IMAGE",
        ),
    ] = "postgres"
    timeout: Annotated[
        Seconds | None,
        Setting("how long to wait for the engine", least=1, option="--timeout TIME"),
    ] = None
    engine: Mapping[str, Any] = {}
    """What was said for the engine, by key; everything else is left to it."""

    @property
    def engine_json(self) -> Path:
        """Where the store's engine says how to reach it."""
        return self.store / ENGINE_FILE

    @property
    def engine_log(self) -> Path:
        """What an engine in the background writes."""
        return self.store / LOG_FILE
