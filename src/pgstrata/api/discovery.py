"""What an engine tells clients of itself in a file, so that they find it."""

from datetime import datetime

from pgstrata.domain.model import Model


class EngineFile(Model, frozen=True, kw_only=True, rename="camel"):
    """What ``engine.json`` tells clients: where the engine is, and how to be let in."""

    endpoint: str
    """A URL."""
    pid: int
    started_at: datetime
    auth_token: str
    version: str
    instance_id: str
    """Drawn anew at each start of an engine; its health says the same."""
