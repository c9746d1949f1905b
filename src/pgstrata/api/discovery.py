"""The discovery file, by which clients find an engine."""

from datetime import datetime

from pgstrata.domain.model import Model


class EngineFile(Model, frozen=True, kw_only=True, rename="camel"):
    """The content of ``engine.json``: where the engine is, and the token to use it."""

    endpoint: str
    """A URL."""
    pid: int
    started_at: datetime
    auth_token: str
    version: str
    instance_id: str
    """Chosen anew at each start of an engine; ``GET /v1/health`` reports the same."""
    certificate: str | None = None
    """The certificate of an engine with TLS, as PEM."""
