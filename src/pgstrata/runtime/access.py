"""Who may connect to a server and how: the private directory of sockets and its rules.

The engine connects through a socket in a directory that no other user can enter, as the superuser,
by peer authentication: no password is hashed, and a script that changes one locks nobody out. All
other clients need a password. The rules are beside the sockets, not in the data directory, so that
no state contains them and no script changes them.
"""

import hashlib
import logging
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pgstrata.errors import ServerError
from pgstrata.runtime.postmaster import pid_in, works_in
from pgstrata.system import faults, planted
from pgstrata.system.planted import PlantedFileError

_log = logging.getLogger(__name__)

SUPERUSER = "postgres"

_SOCKET_PATH_BYTES = 103
"""The longest path of a socket that every system allows (107 on Linux, 103 on macOS)."""

_LOCK_BYTES = 8192

_LONGEST_SOCKET = "/.s.PGSQL.65535"

_FALLBACK_ROOT = Path("/tmp")  # noqa: S108 - a directory here is closed to others, or refused
"""Where sockets are if the store cannot have them, whatever ``TMPDIR`` says: no path is shorter,
and a private temporary directory would keep the servers' user out."""

# A server makes the lock file first, with its pid and data directory, and removes it last.
_SOCKET, _LOCK = ".s.PGSQL.", ".lock"

_HBA_FILE, _IDENT_FILE, _PASSWORD_FILE = _FILES = "pg_hba.conf", "pg_ident.conf", "password"

_MAP = "pgstrata"

_HBA = f"""\
local all {SUPERUSER} peer map={_MAP}
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


def socket_dir_for(store: Path) -> Path:
    """The directory for a store's sockets, in the store if its path is usable in a DSN.

    Always the same for the same store. Does not create it.
    """
    inside = store.absolute() / "run"
    if _unusable_reason(inside) is None:
        return inside
    digest = hashlib.sha256(os.fsencode(store.resolve())).hexdigest()[:16]
    return _FALLBACK_ROOT / f"pgstrata-{os.geteuid()}-{digest}"


def _unusable_reason(directory: Path) -> str | None:
    """Why a directory cannot have sockets; None if it can."""
    if len(os.fsencode(directory)) + len(_LONGEST_SOCKET) > _SOCKET_PATH_BYTES:
        return "is too long a path for sockets"
    if "," in str(directory):
        return "has a comma in its path, which libpq takes for the end of a host name"
    return None


class PrivateDir:
    """A directory that only the server's user (and root) can enter, with the access rules in it."""

    def __init__(self, path: Path, *, server_user: str, engine_user: str) -> None:
        """Create the directory, or take over the one that an earlier engine made.

        Raises ``ServerError`` if it cannot be made or have sockets, or another user owns it.
        """
        self.path = path
        self._owner = pwd.getpwnam(server_user)
        if reason := _unusable_reason(path):
            raise ServerError(f"{path} {reason}", remedy="choose another directory")
        self._make()
        self.hba_file = self._write(_HBA_FILE, _HBA)
        self.ident_file = self._write(_IDENT_FILE, _ident((engine_user, server_user)))

    def password_file(self, password: str) -> Path:
        """Write the password to a new file for initdb to read. The caller removes it."""
        return self._new_file(_PASSWORD_FILE, password + "\n")

    def give_away(self, path: Path) -> None:
        """Change a directory's owner to the servers' user, if that is not our own."""
        if os.geteuid() == 0:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid, follow_symlinks=False)

    def clear_leftovers(self) -> None:
        """Remove sockets of servers that are gone, and files that were never renamed to their name.

        Call it only while no server is starting.
        """
        for lock in self.path.glob(f"{_SOCKET}*{_LOCK}"):
            if not _is_held(lock):
                _remove(lock.with_name(lock.name.removesuffix(_LOCK)))
                _remove(lock)
        for socket in self.path.glob(f"{_SOCKET}*"):
            if not os.path.lexists(self.path / (socket.name.removesuffix(_LOCK) + _LOCK)):
                _remove(socket)
        for draft in (draft for name in _FILES for draft in self.path.glob(f"{name}.*")):
            _remove(draft)

    def _make(self) -> None:
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise ServerError(
                f"cannot make {self.path}, where servers have their sockets: {error.strerror}",
                remedy="make it possible, or use a store with a short path without commas",
            ) from error
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (
            os.geteuid(),
            self._owner.pw_uid,
        ):
            # Any user could have made it first in a shared temporary directory.
            raise ServerError(
                f"{self.path} belongs to another user or is not a directory",
                remedy="remove it and try again",
            )
        self.path.chmod(0o700)
        self.give_away(self.path)

    def _write(self, name: str, text: str) -> Path:
        # Running servers may be reading it: replace it as a whole.
        draft = self._new_file(name, text)
        with faults.step("access.rename"):
            return draft.replace(self.path / name)

    def _new_file(self, name: str, text: str) -> Path:
        # We may be root in a directory of the servers' user, which any script can act as: open no
        # existing file, and resolve no name twice.
        descriptor, path = tempfile.mkstemp(prefix=f"{name}.", dir=self.path)
        with faults.step("access.write"), os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if os.geteuid() == 0:
                os.fchown(descriptor, self._owner.pw_uid, self._owner.pw_gid)
        return Path(path)


def _is_held(lock: Path) -> bool:
    """Whether the server that made a socket's lock file is still running."""
    try:
        text = planted.read(lock.parent, lock.name, _LOCK_BYTES).decode("utf-8", "replace")
    except (FileNotFoundError, PlantedFileError):
        return False  # the server has ended meanwhile, or it is no lock file
    line, data_dir, *_ = [*text.split("\n"), "", ""]
    pid = pid_in(line)
    return pid is not None and works_in(pid, Path(data_dir))


def _remove(file: Path) -> None:
    """Remove what a server left, which may be anything; what stays is in nobody's way."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s was left behind and cannot be removed: %s", file, error)


def _ident(users: Iterable[str]) -> str:
    return "".join(f'{_MAP} "{user}" {SUPERUSER}\n' for user in dict.fromkeys(users))
