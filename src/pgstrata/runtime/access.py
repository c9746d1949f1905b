"""Who may connect to a server and how: a private directory for each, with its rules and sockets.

Its file of settings is there as well.

The engine connects through a socket, as the superuser, by peer authentication: no password is
hashed, and a script that changes one locks nobody out. The clients of an instance need a password.
A server that builds a state has only its socket, where the engine's tools may be any role.

The rules are not in the data directory, so that no state contains them and no script changes them:
the engine owns them, and the directory that they are in. Sockets are in a directory below it. The
server makes them there, and it is then closed to the servers' user, who may be a neighbour's
superuser as well.
"""

import hashlib
import logging
import os
import pwd
import re
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pgstrata.domain.instance import Endpoint
from pgstrata.errors import ServerError
from pgstrata.system import faults

_log = logging.getLogger(__name__)

SUPERUSER = "postgres"

_SOCKET_PATH_BYTES = 103
"""The longest path of a socket that every system allows (107 on Linux, 103 on macOS)."""

_SOCKETS = "s"

_LONGEST_SOCKET = f"/12345678/{_SOCKETS}/.s.PGSQL.65535"

_FALLBACK_ROOT = Path("/tmp")  # noqa: S108 - a directory here is closed to others, or refused
"""Where sockets are if the store cannot have them, whatever ``TMPDIR`` says: no path is shorter,
and a private temporary directory would keep the servers' user out."""

SETTINGS_FILE, HBA_FILE, IDENT_FILE = "postgresql.conf", "pg_hba.conf", "pg_ident.conf"
"""The names of the engine's files in a server's directory."""

_LEFT = re.compile(r"[0-9a-f]{8}|(\.s\.PGSQL\.|pg_hba\.conf|pg_ident\.conf|password\.).*")
"""What an engine leaves in the directory; all but the first is an earlier version's, whose servers
had their sockets in one."""

_MAP = "pgstrata"

_HBA = f"""\
local all {{superuser}} peer map={_MAP}
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""

_HBA_BUILDING = f"""\
local all {{superuser}} peer map={_MAP}
local all all trust
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
    """The directory of all servers' directories. Only the engine and the servers' user (and root)
    can pass through it, and only the engine writes to it."""

    def __init__(self, path: Path, *, server_user: str, engine_user: str) -> None:
        """Create the directory, or take over the one that an earlier engine made.

        Raises ``ServerError`` if it cannot be made or have sockets, or another user owns it.
        """
        self.path = path
        self._engine_user = engine_user
        self._owner = pwd.getpwnam(server_user)
        if reason := _unusable_reason(path):
            raise ServerError(f"{path} {reason}", remedy="choose another directory")
        self._make()

    def add(
        self,
        settings: str,
        *,
        superuser: str = SUPERUSER,
        building: bool = False,
        itself: bool = False,
    ) -> "ServerDir":
        """A new directory for a server that is about to start, with its settings and rules.

        ``itself``: whether the server's own user is let in, too. No other server may have that
        user and see the directory then.
        """
        rules = _HBA_BUILDING if building else _HBA
        name = _quoted(superuser)
        with faults.step("access.make"):
            added = ServerDir(self._new(), self._owner)
        with faults.step("access.write"):
            self._write(added.settings_file, settings)
            self._write(added.hba_file, rules.format(superuser=name))
            users = dict.fromkeys((self._engine_user, *((self._owner.pw_name,) * itself)))
            rows = (f"{_MAP} {_quoted(user)} {name}\n" for user in users)
            self._write(added.ident_file, "".join(rows))
        return added

    def remove(self, endpoint: Endpoint) -> None:
        """Remove the directory of a server that has ended."""
        if endpoint.socket_dir == self.path:
            for name in _earlier_sockets(endpoint):
                _remove(self.path / name)
        elif endpoint.socket_dir.parent.parent == self.path:
            _remove(endpoint.socket_dir.parent)

    def clear_leftovers(self, kept: Iterable[Endpoint]) -> None:
        """Remove what is no server's of these. Call it only while no server is starting."""
        names: set[str] = set()
        for endpoint in kept:
            if endpoint.socket_dir == self.path:
                names |= {HBA_FILE, IDENT_FILE, *_earlier_sockets(endpoint)}
            else:
                names.add(endpoint.socket_dir.parent.name)
        for entry in list(self.path.iterdir()):
            if _LEFT.fullmatch(entry.name) and entry.name not in names:
                _remove(entry)

    def give_away(self, path: Path) -> None:
        """Change a directory's owner to the servers' user, if that is not our own."""
        if os.geteuid() == 0:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid, follow_symlinks=False)

    def _make(self) -> None:
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise ServerError(
                f"cannot make {self.path}, where servers have their sockets: {error.strerror}",
                remedy="make it possible, or use a store with a short path without commas",
            ) from error
        # Any user could have made it first in a shared temporary directory.
        not_ours = ServerError(
            f"{self.path} belongs to another user or is not a directory",
            remedy="remove it and try again",
        )
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags)
        except OSError as error:
            raise not_ours from error
        try:
            if os.fstat(descriptor).st_uid not in (os.geteuid(), self._owner.pw_uid, *_earlier()):
                raise not_ours
            self._let_pass(descriptor)
        finally:
            os.close(descriptor)

    def _new(self) -> Path:
        while True:
            directory = self.path / secrets.token_hex(4)
            try:
                directory.mkdir(mode=0o700)
            except FileExistsError:
                continue
            except FileNotFoundError:
                # Somebody tidied up: in a temporary directory a machine does that by itself.
                self._make()
                continue
            self._let_pass(directory)
            return directory

    def _let_pass(self, directory: int | Path) -> None:
        """Let the servers' user pass through a directory of ours, and nobody else."""
        if os.geteuid() == 0:
            os.chown(directory, 0, self._owner.pw_gid)
            os.chmod(directory, 0o710)  # noqa: PTH101, S103 - that group is theirs
        else:
            os.chmod(directory, 0o700)  # noqa: PTH101

    def _write(self, file: Path, text: str) -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            if os.geteuid() == 0:
                os.fchown(descriptor, 0, self._owner.pw_gid)
                os.fchmod(descriptor, 0o640)
            stream.write(text)


class ServerDir:
    """One server's directory."""

    def __init__(self, path: Path, server: pwd.struct_passwd) -> None:
        """Make the directory for sockets in it, for the server to write to."""
        self.path = path
        self.sockets = path / _SOCKETS
        self.settings_file = path / SETTINGS_FILE
        self.hba_file = path / HBA_FILE
        self.ident_file = path / IDENT_FILE
        self.sockets.mkdir(mode=0o700)
        self._own_sockets(server.pw_uid, server.pw_gid)

    def close(self, *, itself: bool = False) -> None:
        """Keep the servers' user from writing to the sockets' directory, if that is not our own.

        Unless the server may connect to ``itself``, its user cannot enter it either.
        """
        self._own_sockets(0, 0, 0o711 if itself else 0o700)

    def discard(self) -> None:
        """Remove it, if its server did not start."""
        _remove(self.path)

    def _own_sockets(self, uid: int, gid: int, mode: int = 0o700) -> None:
        # By path: only we can rename what is in the directory above.
        if os.geteuid() == 0:
            os.chown(self.sockets, uid, gid, follow_symlinks=False)
            self.sockets.chmod(mode)


def _earlier() -> tuple[int, ...]:
    """Whom an earlier version gave the directory to, if nobody said whom."""
    with suppress(KeyError):
        return (pwd.getpwnam("postgres").pw_uid,) if os.geteuid() == 0 else ()
    return ()


def _earlier_sockets(endpoint: Endpoint) -> tuple[str, str]:
    socket = f".s.PGSQL.{endpoint.port}"
    return socket, f"{socket}.lock"


def _remove(path: Path) -> None:
    """Remove what a server may have written to; what stays is in nobody's way."""
    with faults.step("access.remove"):
        try:
            # A link is removed and not followed, neither here nor below.
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except (OSError, RecursionError) as error:
            _log.warning("%s was left behind and cannot be removed: %s", path, error)


def _quoted(name: str) -> str:
    """A name as files of rules have it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
