"""Which operating system user servers run as, and what that user can reach."""

import os
import pwd
import stat
from pathlib import Path

from pgstrata.errors import ServerError
from pgstrata.system.capabilities import Capability, lacking

_TO_RUN_AS_ANOTHER: tuple[Capability, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
)
"""What root needs for servers of another user: to give them files, switch to that user, read their
files, and stop them."""

_PREFERRED = ("pgstrata", "nobody")
"""Not ``postgres``: the machine's own clusters are open to it."""


def engine_user() -> str:
    """The name of the user this process runs as. Raises ``ServerError`` if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        # initdb and peer authentication look the name up as well.
        raise ServerError(
            f"user id {os.geteuid()} has no name, and PostgreSQL does not run without one",
            remedy="add the user to /etc/passwd",
        ) from error


def choose_server_user(asked: str | None) -> str | None:
    """The user that servers run as: None for our own, another one if we are root.

    Raises ``ServerError`` if servers cannot run as the one asked for.
    """
    if os.geteuid() == 0:
        return _for_root(asked)
    if asked is not None and asked != engine_user():
        raise ServerError(
            f"servers cannot run as {asked}: only root can start programs as another user",
            remedy=f"leave the server user unset, or run pgstrata as {asked} or as root",
        )
    return None


def blocked_by(path: Path, user: str) -> Path | None:
    """The first parent directory of ``path`` that ``user`` may not enter, if any."""
    entry = pwd.getpwnam(user)
    # Servers have that group only, and our own all that we have.
    groups = [entry.pw_gid, *(os.getgroups() if entry.pw_uid == os.geteuid() else ())]
    for ancestor in reversed(path.absolute().parents):
        if not _may_enter(ancestor.stat(), entry.pw_uid, groups):
            return ancestor
    return None


def _for_root(asked: str | None) -> str:
    known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    if asked is None:
        asked = next((name for name in _PREFERRED if name in known), None)
    if asked is None or asked not in known:
        raise ServerError(
            f"there is no user {asked or 'to run servers as'}, "
            "and PostgreSQL refuses to run as root",
            remedy="make one with `useradd --system pgstrata`, or set the server user",
        )
    if known[asked] == 0:
        raise ServerError(
            f"servers cannot run as {asked}: PostgreSQL refuses to run as root",
            remedy="set the server user to another one, or leave it unset",
        )
    if missing := lacking(*_TO_RUN_AS_ANOTHER):
        names = ", ".join(missing)
        raise ServerError(
            f"this root cannot run servers as {asked}: it lacks {names}, and PostgreSQL refuses "
            "to run as root",
            remedy="run pgstrata as an ordinary user (in a container: --user), or add those "
            f"capabilities ({' '.join(f'--cap-add={name}' for name in missing)})",
        )
    return asked


def _may_enter(directory: os.stat_result, uid: int, groups: list[int]) -> bool:
    if directory.st_uid == uid:
        return bool(directory.st_mode & stat.S_IXUSR)
    if directory.st_gid in groups:
        return bool(directory.st_mode & stat.S_IXGRP)
    return bool(directory.st_mode & stat.S_IXOTH)
