"""An instance: a writable clone of a state with a running server."""

from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pgstrata.domain.model import Model

_SHORT_ID = 12

Pause = Literal["frozen", "stopped"]
"""How a server is kept from changing its files while they are copied."""


class Address(Model, frozen=True, kw_only=True):
    """What a DSN knows a server by, and what stays when another server takes its place."""

    port: int
    password: str


class Endpoint(Model, frozen=True, kw_only=True):
    """How to connect to a server, as its superuser."""

    host: str
    port: int
    socket_dir: Path
    """The directory of its Unix socket, for users with access to it."""
    user: str
    password: str
    database: str
    major: int = 0
    """The server's major version; 0 in rows written before it was recorded."""
    own_port: int | None = None
    """What the server itself takes for its port, as its socket's name says, if that is another."""

    @property
    def address(self) -> Address:
        """What another server in this one's place must keep."""
        return Address(port=self.port, password=self.password)

    @property
    def socket_port(self) -> int:
        """The number in the socket's name, which clients of the socket give as the port."""
        return self.port if self.own_port is None else self.own_port

    @property
    def dsn(self) -> str:
        """``postgresql://…`` with the password, for any client on this machine."""
        parts = (self.user, self.password, self.database)
        user, password, database = (quote(part, safe="") for part in parts)
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{database}"

    @property
    def jdbc_url(self) -> str:
        """``jdbc:postgresql://…`` without user and password, for Java."""
        return f"jdbc:postgresql://{self.host}:{self.port}/{quote(self.database, safe='')}"


class Server(Model, frozen=True, kw_only=True):
    """A running PostgreSQL server: how to connect to it, and how its runtime identifies it."""

    endpoint: Endpoint
    runtime_id: str
    """Its runtime's name for it, for people, such as a pid."""
    title: str
    """Its name in messages: ``the server on /…/data``."""
    log: str
    """Where it logs, for people."""
    handle: str
    """Only its runtime understands this; equal handles are the same server's."""
    undo: tuple[str, ...] = ()
    """Statements that take back what had to be changed to let anybody in, before its files are kept
    as a state. ``Runtime.stop`` carries them out."""


class Instance(Model, frozen=True, kw_only=True):
    """One instance. It is stored only once it is complete."""

    instance_id: str
    """32 lower-case hex characters."""
    image_id: str
    state_id: str
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    server: Server
    extensions: int = 0
    """How often it was given more time because clients were connected when its time was up, or may
    have been: its server could not be asked."""
    resetting: bool = False
    """Whether it is being put back to its state, so that its data and server may be gone."""
    paused: Pause | None = None
    """How the engine keeps its server from running for a moment, if it does."""

    settings: dict[str, str] = {}
    """Those of the request that it was made for, with which its server is started again."""

    job_id: str | None = None
    """The job that it was made for; None in rows written before that was recorded."""

    @property
    def known_as(self) -> str:
        """What people call it: its name, or as much of its id as they are shown."""
        return self.name or self.instance_id[:_SHORT_ID]

    @property
    def dsn(self) -> str:
        """How to connect to it."""
        return self.server.endpoint.dsn
