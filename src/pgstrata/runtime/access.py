"""Who may connect to a server and how: the private directory of sockets and its rules.

The engine comes in through a socket in a directory that nobody else can enter, as the superuser,
recognised by the kernel: no password is hashed, and a script that changes one locks nobody out.
Everybody else comes with a password. The rules lie beside the sockets, not in the data directory,
so that no state carries them and no script changes them.
"""

import hashlib
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pgstrata.errors import ServerError
from pgstrata.runtime.postmaster import works_in
from pgstrata.system import faults

SUPERUSER = "postgres"

_SOCKET_PATH_BYTES = 103
"""How long a socket's path may be on every system (107 on Linux, 103 on macOS)."""

_LONGEST_SOCKET = "/.s.PGSQL.65535"

_ELSEWHERE = Path("/tmp")  # noqa: S108 - what is made there is closed to others, or refused
"""Where sockets lie whose store is no place for them, whatever ``TMPDIR`` says: no path is shorter,
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
    """A place for a store's sockets that clients can be told: in the store if it can be.

    Always the same place for the same store. Nothing is made.
    """
    inside = store.absolute() / "run"
    if _unfit(inside) is None:
        return inside
    digest = hashlib.sha256(os.fsencode(store.resolve())).hexdigest()[:16]
    return _ELSEWHERE / f"pgstrata-{os.geteuid()}-{digest}"


def _unfit(directory: Path) -> str | None:
    """Why a directory cannot have sockets; None when it can."""
    if len(os.fsencode(directory)) + len(_LONGEST_SOCKET) > _SOCKET_PATH_BYTES:
        return "is too long a path for sockets"
    if "," in str(directory):
        return "has a comma in its path, where libpq takes one host to end and another to begin"
    return None


class PrivateDir:
    """A directory that only the server's user (and root) can enter, with the access rules in it."""

    def __init__(self, path: Path, *, server_user: str, engine_user: str) -> None:
        """Make the directory, or take over the one an earlier engine made.

        Raises ``ServerError`` when it cannot be made or have sockets, or somebody else owns it.
        """
        self.path = path
        self._owner = pwd.getpwnam(server_user)
        if reason := _unfit(path):
            raise ServerError(f"{path} {reason}", remedy="choose another directory")
        self._make()
        self.hba_file = self._write(_HBA_FILE, _HBA)
        self.ident_file = self._write(_IDENT_FILE, _ident((engine_user, server_user)))

    def password_file(self, password: str) -> Path:
        """A new file with the password for initdb to read. The caller removes it."""
        return self._new_file(_PASSWORD_FILE, password + "\n")

    def give_away(self, path: Path) -> None:
        """Make a directory the server user's, where that is not the user we are."""
        if os.geteuid() == 0:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid, follow_symlinks=False)

    def clear_leftovers(self) -> None:
        """Remove sockets of servers that are gone, and files that were never put in their place.

        Only while no server is being started.
        """
        for lock in self.path.glob(f"{_SOCKET}*{_LOCK}"):
            if not _is_held(lock):
                lock.with_name(lock.name.removesuffix(_LOCK)).unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        for socket in self.path.glob(f"{_SOCKET}*"):
            if not self.path.joinpath(socket.name.removesuffix(_LOCK) + _LOCK).exists():
                socket.unlink(missing_ok=True)
        for draft in (draft for name in _FILES for draft in self.path.glob(f"{name}.*")):
            draft.unlink(missing_ok=True)

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
            # Below a shared temporary directory anybody could have been there first.
            raise ServerError(
                f"{self.path} belongs to another user or is not a directory",
                remedy="remove it and try again",
            )
        self.path.chmod(0o700)
        self.give_away(self.path)

    def _write(self, name: str, text: str) -> Path:
        # Servers that are still running may read it at this moment: replaced whole.
        draft = self._new_file(name, text)
        with faults.step("access.rename"):
            return draft.replace(self.path / name)

    def _new_file(self, name: str, text: str) -> Path:
        # We may be root in a directory of the server's user, whom any script can act as: nothing
        # that lies there is opened, and no name is followed twice.
        descriptor, path = tempfile.mkstemp(prefix=f"{name}.", dir=self.path)
        with faults.step("access.write"), os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if os.geteuid() == 0:
                os.fchown(descriptor, self._owner.pw_uid, self._owner.pw_gid)
        return Path(path)


def _is_held(lock: Path) -> bool:
    """Whether the server that made a socket's lock file is there."""
    try:
        text = lock.read_text(errors="replace")
    except FileNotFoundError:
        return False  # the server ended meanwhile
    pid, data_dir, *_ = [*text.split("\n"), "", ""]
    return pid.isdecimal() and works_in(int(pid), Path(data_dir))


def _ident(users: Iterable[str]) -> str:
    return "".join(f'{_MAP} "{user}" {SUPERUSER}\n' for user in dict.fromkeys(users))
