"""testcontainers' ``PostgresContainer``, without containers.

What it has are the methods that say how a database begins and where it is. What only a container
has (networks, commands in it, its files) it lacks.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from pgstrata.errors import InvalidArgumentError
from pgstrata.testing.login import SUPERUSER, Login, database, login_of, server, server_settings
from pgstrata.testing.pg import Pg
from pgstrata.testing.process import session

_SCRIPTS = "/docker-entrypoint-initdb.d"
_NOT_FOR_PSQL = (".sh", ".sql.gz", ".sql.xz", ".sql.zst")
_AS_CONSTRUCTED: Any = object()


class PostgresContainer:
    """A server with one database, from ``start`` to ``stop``, or for a ``with`` block.

    ``image``: as always; of ``postgres:16-alpine``, ``postgres:16`` counts. Without a ``password``
    it has one that ``password`` says once it is started.
    """

    def __init__(
        self,
        image: str = "postgres:latest",
        port: int = 5432,
        username: str | None = None,
        password: str | None = None,
        dbname: str | None = None,
        driver: str | None = "psycopg2",
        *,
        command: str | None = None,
        env: dict[str, str] | None = None,
        volumes: "list[tuple[str, str, str]] | None" = None,
    ) -> None:
        self.image = image
        self.port = port
        self.username = username or os.environ.get("POSTGRES_USER", "test")
        self.password = password or os.environ.get("POSTGRES_PASSWORD")
        self.dbname = dbname or os.environ.get("POSTGRES_DB", "test")
        self.driver = f"+{driver}" if driver else ""
        self.env = dict(env or {})
        self._scripts: list[Path] = []
        self._command = ""
        self._lent: Pg | None = None
        if command is not None:
            self.with_command(command)
        for volume in volumes or ():
            self.with_volume_mapping(*volume)

    def with_env(self, key: str, value: str) -> Self:
        """Nothing but for ``env``: what the image would be told, the constructor is."""
        self.env[key] = value
        return self

    def with_envs(self, **variables: str) -> Self:
        """The same for several."""
        self.env.update(variables)
        return self

    def with_command(self, command: "str | list[str]") -> Self:
        """Set PostgreSQL's settings: ``postgres -c fsync=off``."""
        self._command = command if isinstance(command, str) else " ".join(command)
        return self

    def with_volume_mapping(self, host: "str | Path", container: str, mode: str = "ro") -> Self:
        """Have a script, or those in a directory, run at first.

        Raises ``InvalidArgumentError`` for other files of the image, and for what psql cannot run.
        """
        if not container.startswith(_SCRIPTS):
            raise InvalidArgumentError(
                f"{container} is a place in a container, and there are no containers",
                remedy=f"map scripts into {_SCRIPTS}",
            )
        self._scripts += scripts_in(Path(host).absolute())
        return self

    def with_exposed_ports(self, *ports: "str | int") -> Self:
        """Nothing: the server's port is always exposed."""
        return self

    def start(self) -> Self:
        """Have a server. Raises ``PgstrataError``."""
        lending = session()
        recipe = server(image_of(self.image), self.username, self.password).then(*self._scripts)
        if self.dbname != "postgres":
            recipe = recipe.then(database(self.dbname))
        settings = server_settings(self._command.removeprefix("postgres"))
        self._lent = lending.lend(lending.build(recipe), settings)
        if self.password is None or self.username == SUPERUSER:
            self.password = login_of(self._lent).password
        return self

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:
        """Remove it, whoever is connected."""
        if self._lent is not None:
            session().take_back(self._lent)
            self._lent = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    def get_container_host_ip(self) -> str:
        """Where the server listens."""
        return self._login().host

    def get_exposed_port(self, port: int) -> int:
        """On which port, whatever it would be in the container."""
        return self._login().port

    def get_connection_url(
        self, host: str | None = None, driver: str | None = _AS_CONSTRUCTED
    ) -> str:
        """``postgresql+psycopg2://…``; with ``driver=None``, ``postgresql://…``."""
        login = self._login()
        suffix = self.driver if driver is _AS_CONSTRUCTED else f"+{driver}" if driver else ""
        who = f"{quote(login.user, safe='')}:{quote(login.password, safe='')}"
        return f"postgresql{suffix}://{who}@{host or login.host}:{login.port}/{quote(login.dbname)}"

    def _login(self) -> Login:
        if self._lent is None:
            raise InvalidArgumentError("it is not started", remedy="call start(), or use `with`")
        assert self.password is not None
        found = login_of(self._lent)
        return found._replace(user=self.username, password=self.password, dbname=self.dbname)


def image_of(name: str) -> str | None:
    """The image's name as pgstrata has it: the best PostgreSQL for ``latest``."""
    repository, _, tag = name.partition(":")
    if repository.removeprefix("docker.io/").removeprefix("library/") != "postgres":
        return name
    version = tag.partition("-")[0]
    return f"postgres:{version}" if version[:1].isdigit() else None


def scripts_in(path: Path) -> list[Path]:
    """What the image would run of a directory, or a file alone; it leaves files of other kinds.

    Raises ``InvalidArgumentError`` for what the image would run, and psql cannot.
    """
    found = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    for each in found:
        if each.name.endswith(_NOT_FOR_PSQL):
            raise InvalidArgumentError(
                f"{each} is no script for psql", remedy="write in SQL what it does"
            )
    return [each for each in found if each.suffix == ".sql" or each == path]
