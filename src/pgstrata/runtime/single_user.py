"""Letting the superuser into a cluster that lets nobody in, by a server without any connections.

Scripts may take the superuser's login away, rename it, or drop or close its database. In
single-user mode PostgreSQL asks for none of this.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain
from typing import NamedTuple

import msgspec

from pgstrata.dbms.connection import OWN_SETTINGS
from pgstrata.errors import ServerError
from pgstrata.system import faults
from pgstrata.system.subprocesses import Ended

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

_STATEMENTS = "\n".join((_LOOK, *_OPEN, _LOOK, "")).encode()

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
    oid: int
    version: int
    allows: dict[str, bool]


_Found = tuple[_Row, _Row]
"""The first superuser, and its database."""

Run = Callable[[list[str], bytes], Awaitable[Ended]]
"""Runs a command line with standard input, as a server of the cluster."""


async def let_in(argv: list[str], run: Run) -> Entrance:
    """Let the first superuser into its database, or else into the oldest that is no template.

    ``argv`` is the command line of the cluster's server, which must have been shut down. What comes
    back is as true as the cluster is: its superuser may have replaced the functions that are asked.
    Raises ``ServerError``.
    """
    program, *options = argv
    own = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    said = ""
    for database in _DATABASES:
        with faults.step("server.let_in"):
            ended = await run([program, "--single", *options, *own, database], _STATEMENTS)
        said = ended.stderr
        if found := _found(ended.stdout):
            (role_before, database_before), (role, opened) = found
            undo = (
                _undo("pg_authid", role_before, role),
                _undo("pg_database", database_before, opened),
            )
            return Entrance(role.name, opened.name, tuple(chain.from_iterable(undo)))
    raise ServerError(
        "the superuser cannot be let into the cluster again",
        remedy="check what the scripts do to its roles and databases",
        details=said or None,
    )


def _found(stdout: str) -> tuple[_Found, _Found] | None:
    """What was told before and after; None if it was not, or is not what a cluster has."""
    try:
        before, after = (
            msgspec.json.decode(bytes.fromhex(told), type=_Found, strict=False)
            for told in _TOLD.findall(stdout)
        )
    except (ValueError, msgspec.DecodeError):
        return None
    # Names go into files of rules.
    return (before, after) if all(row.name.isprintable() for row in after) else None


def _undo(catalog: str, before: _Row, now: _Row) -> Iterator[str]:
    if taken := ", ".join(f"{name} = false" for name, yes in before.allows.items() if not yes):
        # A script that changed the row meanwhile has the last word.
        yield (
            f"update pg_catalog.{catalog} set {taken}"  # noqa: S608 - told by the cluster itself
            f" where oid = {now.oid} and xmin = '{now.version}'"
        )
