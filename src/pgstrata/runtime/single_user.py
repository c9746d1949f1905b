"""Letting the superuser into a cluster that lets nobody in, by a server without any connections.

Scripts may take the superuser's login away, rename it, or drop or close its database. In
single-user mode PostgreSQL asks for none of this.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pgstrata.dbms.connection import OWN_SETTINGS
from pgstrata.errors import ProgramError, ServerError
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.system import faults, subprocesses

_SETTINGS = {
    **OWN_SETTINGS,
    # What these do is for clients, and a server that lacks one of them says so when it starts.
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
}

_DATABASES = ("postgres", "template1", "template0")
"""Where to look: roles and databases are the same everywhere. Any of them may be gone."""

# The first superuser is BOOTSTRAP_SUPERUSERID, which cannot be dropped. A datconnlimit of -2 is
# what an interrupted DROP DATABASE leaves.
_SUPERUSER = "pg_catalog.pg_authid where oid = 10"
_DATABASE = (
    "pg_catalog.pg_database where oid = (select oid from pg_catalog.pg_database"
    " where datname <> 'template0' and datconnlimit <> -2"
    " order by datname <> 'postgres', datistemplate, oid limit 1)"
)

_LOOK = (
    "select encode(convert_to(json_build_array("  # noqa: S608
    "(select json_build_array(rolname, oid::text, xmin::text, json_build_object("
    f"'rolcanlogin', rolcanlogin, 'rolsuper', rolsuper)) from {_SUPERUSER}),"
    "(select json_build_array(datname, oid::text, xmin::text, json_build_object("
    f"'datallowconn', datallowconn)) from {_DATABASE})"
    ")::text, 'UTF8'), 'hex') as told"
)
"""In hex, since the answer is shown between quotes with nothing escaped."""

_OPEN = (
    "update pg_catalog.pg_authid set rolcanlogin = true, rolsuper = true"
    " where oid = 10 and not (rolcanlogin and rolsuper)",
    "update " + _DATABASE.replace("where", "set datallowconn = true where not datallowconn and", 1),
)

_TOLD = re.compile(r'told = "([0-9a-f]+)"')


class Entrance(NamedTuple):
    """How the superuser gets into a cluster."""

    user: str
    database: str
    undo: tuple[str, ...] = ()
    """What makes the cluster again what its scripts made it."""


class _Row(NamedTuple):
    """What is to be known of a role or a database."""

    name: str
    oid: str
    version: str
    allows: dict[str, bool]


async def let_in(argv: list[str], data_dir: Path, user: str | None) -> Entrance:
    """Let the first superuser into its database, or else into the oldest that is no template.

    ``argv`` is the command line of the cluster's server, which must have been shut down; ``user``
    is whom it runs as. Raises ``ServerError``.
    """
    statements = (_LOOK, *_OPEN, _LOOK)
    said = ""
    for database in _DATABASES:
        ended = await _ask(argv, data_dir, user, database, statements)
        said = ended.stderr
        if told := _TOLD.findall(ended.stdout):
            (role_before, database_before), (role_now, database_now) = map(_rows, told)
            return Entrance(
                role_now.name,
                database_now.name,
                (
                    *_undo("pg_authid", role_before, role_now),
                    *_undo("pg_database", database_before, database_now),
                ),
            )
    raise ServerError(
        f"the superuser cannot be let into the cluster in {data_dir} again",
        remedy="check what the scripts do to its roles and databases",
        details=said,
    )


async def _ask(
    argv: list[str], data_dir: Path, user: str | None, database: str, statements: tuple[str, ...]
) -> subprocesses.Ended:
    program, *options = argv
    own = (word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}"))
    try:
        with faults.step("server.let_in"):
            return await subprocesses.run(
                [program, "--single", *options, *own, database],
                cwd=data_dir,
                env=MINIMAL_ENV,
                user=user,
                stdin="\n".join((*statements, "")).encode(),
                check=False,
            )
    except ProgramError as error:
        raise ServerError(error.message, remedy=error.remedy) from error


def _rows(told: str) -> tuple[_Row, _Row]:
    role, database = json.loads(bytes.fromhex(told))
    return _Row(*role), _Row(*database)


def _undo(catalog: str, before: _Row, now: _Row) -> Iterator[str]:
    if taken := ", ".join(f"{name} = false" for name, yes in before.allows.items() if not yes):
        # A script that changed the row meanwhile has the last word.
        yield (
            f"update pg_catalog.{catalog} set {taken}"  # noqa: S608 - names and numbers
            f" where oid = {now.oid} and xmin = '{now.version}'"
        )
