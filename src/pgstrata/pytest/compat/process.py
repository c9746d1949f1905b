"""What pytest-postgresql's ``postgresql_proc`` is: where a server is, and how databases begin."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from itertools import groupby
from pathlib import Path
from typing import Any

from pgstrata.client.recipes import Recipe
from pgstrata.client.recipes import state as of_state
from pgstrata.testing.filling import filled
from pgstrata.testing.login import SUPERUSER, Login, database, login_of
from pgstrata.testing.pg import Pg
from pgstrata.testing.session import Session

Load = Callable[..., object] | str | Path
"""A script, a function, or its dotted name. Functions are given ``host``, ``port``, ``user``,
``dbname`` and ``password``, and ``autocommit`` if they take it by name."""


class Process:
    """A server: the current test's while one uses a database of it, else one of its own."""

    maintenance_dbname = "postgres"

    def __init__(
        self,
        session: Session,
        begun: str,
        credentials: dict[str, Any],
        *,
        dbname: str,
        options: str,
        settings: dict[str, str],
    ) -> None:
        self._session = session
        self._begun = begun
        self._credentials = credentials
        self.dbname = dbname
        self.options = options
        self.settings = settings
        self._own: Pg | None = None
        self._in_use: list[Pg] = []

    host = property(lambda self: self.login().host)
    port = property(lambda self: self.login().port)
    user = property(lambda self: self.login().user)
    password = property(lambda self: self.login().password)
    template_dbname = property(lambda self: f"{self.dbname}_tmpl")

    @property
    def version(self) -> str:
        """PostgreSQL's, such as ``16.4``."""
        import psycopg

        with psycopg.connect(**self.login()._asdict()) as connection:
            major, minor = divmod(connection.info.server_version, 10_000)
        return f"{major}.{minor}"

    def login(self, dbname: str = maintenance_dbname) -> Login:
        """Where a database of it is. Raises ``PgstrataError``."""
        if self._in_use:
            current = self._in_use[-1]
        else:
            self._own = self._own or self._session.lend(
                self.state_with(self.template_dbname), self.settings
            )
            current = self._own
        return login_of(current)._replace(dbname=dbname, **self._credentials)

    def state_with(self, dbname: str) -> str:
        """The id of the state that has this database. Raises ``PgstrataError``."""
        return self._session.build(of_state(self._begun).then(database(dbname)))

    def with_more(
        self, load: Sequence[Load], autocommit: bool, *, dbname: str, options: str
    ) -> "Process":
        """Another, whose databases begin with more. Raises ``PgstrataError``."""
        begun = loaded(self._session, of_state(self._begun), load, self._credentials, autocommit)
        return Process(
            self._session,
            begun,
            self._credentials,
            dbname=dbname,
            options=options,
            settings=self.settings,
        )

    @contextmanager
    def used(self, lent: Pg) -> Iterator[None]:
        """Be this server for a while."""
        self._in_use.append(lent)
        try:
            yield
        finally:
            self._in_use.remove(lent)

    def close(self) -> None:
        """Give back the server of its own."""
        if self._own is not None:
            self._session.take_back(self._own)


def credentials_of(user: str | None, password: str | None) -> dict[str, Any]:
    """How to log in, where that is not as the DSN of an instance says."""
    if user in (None, SUPERUSER) or password is None:
        return {}
    return {"user": str(user), "password": password}


def loaded(
    session: Session,
    begun: Recipe,
    load: Sequence[Load],
    credentials: dict[str, Any],
    autocommit: bool,
) -> str:
    """The id of the state that a recipe comes to with all of these. Raises ``PgstrataError``."""
    recipe = begun
    for are_scripts, some in groupby(load, key=_is_script):
        if are_scripts:
            recipe = recipe.then(*(Path(str(script)) for script in some))
            continue
        state_id = session.build(recipe)
        for one in some:
            call = _found(one) if isinstance(one, str) else one
            state_id = filled(session, state_id, partial(_call, call, credentials, autocommit))
        recipe = of_state(state_id)
    return session.build(recipe)


def _is_script(load: Load) -> bool:
    return isinstance(load, Path) or (isinstance(load, str) and load.endswith(".sql"))


def _found(name: str) -> Any:
    module, _, function = name.replace(":", ".").rpartition(".")
    return getattr(importlib.import_module(module), function)


def _call(load: Any, credentials: dict[str, Any], autocommit: bool, pg: Pg) -> None:
    parameters = signature(load).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    passes = "autocommit" in parameters or (autocommit and takes_any)
    more = {"autocommit": autocommit} if passes else {}
    load(**login_of(pg)._replace(**credentials)._asdict(), **more)
