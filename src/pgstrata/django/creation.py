"""Test databases: migrated once, and cloned for processes and for tests that commit."""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django import get_version
from django.apps import apps
from django.core.management.base import CommandError
from django.db import connections
from django.db.backends.postgresql import creation
from django.db.migrations.loader import MigrationLoader

from pgstrata.errors import PgstrataError
from pgstrata.testing.login import database, login_of, server
from pgstrata.testing.pg import Pg
from pgstrata.testing.process import recipe, session

_STATE = "PGSTRATA_STATE"
"""In the settings of tests, which processes that run tests get as well: the id of the state that
has all that migrations made."""
_CLONES = "PGSTRATA_CLONES"
"""In the same place: where the database of each such process is."""


class DatabaseCreation(creation.DatabaseCreation):  # type: ignore[misc]
    """Makes the test database, its clones, and others after tests that commit."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._lent: dict[str | None, Pg] = {}
        """By the suffix of a clone; None for the database that tests of this process use."""
        self._before: dict[str, Any] = {}
        """Settings that are those of tests for a while."""

    @property
    def state_id(self) -> str | None:
        """The id of the state that tests start from, while there is a test database."""
        known: str | None = self._test.get(_STATE)
        return known

    @property
    def _test(self) -> dict[str, Any]:
        found: dict[str, Any] = self.connection.settings_dict["TEST"]
        return found

    def create_test_db(
        self,
        verbosity: int = 1,
        autoclobber: bool = False,
        serialize: bool = True,
        keepdb: bool = False,
    ) -> str:
        """Have a database with all that migrations make, and a state of it.

        The state is kept for other runs with ``keepdb``, until a migration changes; all processes
        of pytest-xdist have the same.
        """
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
        with _told():
            first = self._first_state()
            name = f"django-{_digest(first)}" if keepdb else run and f"django-{_digest(first, run)}"
            with _one_at_a_time():
                known = _known(name)
                self._before = dict(self.connection.settings_dict)
                self._lent[None] = session().lend(known or first)
                self._go_to(_place(self._lent[None]))
                made: str = super().create_test_db(verbosity, autoclobber, serialize, keepdb)
                state_id = known or session().snapshot(self._lent[None].id, name).state_id
                session().client.states.unpin(state_id)
            if run is not None and not keepdb:
                session().remove_at_end(state_id)
        self._test.update({_STATE: state_id, _CLONES: {}})
        return made

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        return self._get_test_db_name()

    def _get_test_db_name(self) -> str:
        # Each process has a server of its own, so that none needs a name of its own.
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        name: str = super()._get_test_db_name()
        return name.removesuffix(f"_{worker}")

    def _first_state(self) -> str:
        words = self._test.get("RECIPE")
        user = self.connection.settings_dict["USER"] or None
        begun = server(self._test.get("IMAGE"), user) if words is None else recipe(words)
        return session().build(begun.then(database(self._get_test_db_name())))

    def set_as_test_mirror(self, primary_settings_dict: dict[str, Any]) -> None:
        """Be where another one is."""
        self.connection.settings_dict.update(_place_in(primary_settings_dict))
        self._test[_CLONES] = primary_settings_dict["TEST"].get(_CLONES, {})

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:
        assert self.state_id is not None
        with _told():
            self._lent[suffix] = session().lend(self.state_id)
        self._test[_CLONES][suffix] = _place(self._lent[suffix])

    def get_test_db_clone_settings(self, suffix: str) -> dict[str, Any]:
        """The settings of the process with this number."""
        return {**self.connection.settings_dict, **self._test.get(_CLONES, {}).get(suffix, {})}

    def setup_worker_connection(self, _worker_id: int) -> None:
        """Have tests of this process use its database."""
        super().setup_worker_connection(_worker_id)
        self._lent = {}  # they belong to the process that was forked

    def start_anew(self) -> None:
        """Have a database in which no test has been; the next one is made ready meanwhile."""
        assert self.state_id is not None
        lending = session()
        if (used := self._lent.pop(None, None)) is not None:
            lending.take_back(used)
        self._lent[None] = lending.lend(self.state_id)
        lending.get_ready(self.state_id)
        self._go_to(_place(self._lent[None]))

    def destroy_test_db(
        self,
        old_database_name: str | None = None,
        verbosity: int = 1,
        keepdb: bool = False,
        suffix: str | None = None,
    ) -> None:
        """Give back the database; what was kept of it stays."""
        super().destroy_test_db(old_database_name, verbosity, keepdb, suffix)
        if (lent := self._lent.pop(suffix, None)) is not None:
            session().take_back(lent)
        if suffix is None:
            for name in (_STATE, _CLONES):
                self._test.pop(name, None)
            self._go_to(_place_in(self._before))

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        self.connection.close_pool()

    def _go_to(self, place: dict[str, Any]) -> None:
        """Connect there from now on, and have mirrors do so."""
        alias = self.connection.alias
        for one in connections.all(initialized_only=True):
            if one.alias == alias or one.settings_dict["TEST"]["MIRROR"] == alias:
                one.close()
                one.close_pool()
                one.settings_dict.update(place)


def _place(lent: Pg) -> dict[str, Any]:
    """All but the name of the database, which Django gives."""
    login = login_of(lent)
    return {
        "HOST": login.host,
        "PORT": str(login.port),
        "USER": login.user,
        "PASSWORD": login.password,
    }


def _place_in(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in ("HOST", "PORT", "USER", "PASSWORD", "NAME")}


def _known(name: str | None) -> str | None:
    if name is None:
        return None
    return next((one.state_id for one in session().client.states.list(name=name)), None)


def _digest(*words: str) -> str:
    """Of all that makes tables: migrations, and the models of applications that have none."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    modules = {migration.__module__ for migration in loader.disk_migrations.values()}
    for label in loader.unmigrated_apps:
        modules |= {model.__module__ for model in apps.get_app_config(label).get_models()}
    found = hashlib.sha256("\0".join((get_version(), *words)).encode())
    for module in sorted(modules):
        found.update(hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).digest())
    return found.hexdigest()[:40]


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait for other processes of this project that make the same."""
    directory = os.open(os.curdir, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


@contextmanager
def _told() -> Iterator[None]:
    """Tell in a line what goes wrong, without a traceback."""
    try:
        yield
    except PgstrataError as error:
        told = f"the test database cannot be made: {error.message}"
        raise CommandError(f"{told}: {error.remedy}" if error.remedy else told) from error
