"""The store's directory: made, held against other engines, open to the servers' user."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import (
    contextmanager,
)
from pathlib import Path

from pgstrata.engine.private_file import write_private
from pgstrata.errors import (
    ServerError,
    StoreUnusableError,
)
from pgstrata.system import faults, locks, subprocesses

# Servers enter the store as another user than the engine's: they may pass, but not look around.
_STORE_MODE = 0o711


@contextmanager
def hold_store(root: Path) -> Iterator[None]:
    """Make the store if need be, and hold it against any other engine."""
    try:
        make_passable(root)
        lock = locks.try_lock(root / "engine.lock")
    except OSError as error:
        raise StoreUnusableError(
            f"the store {root} cannot be used: {error.strerror}",
            remedy="choose a directory that you can write to: --store DIR or PGSTRATA_STORE",
        ) from error
    if lock is None:
        holder = locks.read_holder(root / "engine.lock")
        raise StoreUnusableError(
            f"the store {root} is in use by the engine with pid {holder}",
            remedy="use that engine, stop it (pgstrata engine stop), or choose another --store",
        )
    with contextlib.closing(lock):
        yield


def make_passable(directory: Path) -> None:
    """Make a directory with our mode, whatever the umask; one that is there keeps its own."""
    if not directory.is_dir():
        with faults.step("directory.make"):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_STORE_MODE)


def remove_old_locks(root: Path) -> None:
    """Remove the lock files that an earlier version left, one for each state it ever built."""
    if (root / "locks").is_dir():
        with faults.step("locks.remove"):
            shutil.rmtree(root / "locks")


def store_password(root: Path) -> str:
    """The store's password: every server of this store has it, so it is made only once."""
    file = root / "password"
    with contextlib.suppress(FileNotFoundError):
        return file.read_text()
    password = secrets.token_hex(16)
    write_private(file, password.encode())
    return password


async def check_reachable(root: Path, user: str | None) -> None:
    """Raise ``StoreUnusableError`` when the servers' user cannot get into the store."""
    if user is None:
        return
    for directory in (*reversed(root.parents), root):
        ended = await subprocesses.run(["test", "-x", directory], user=user, check=False)
        if ended.exit_code == 1:
            raise StoreUnusableError(
                f"servers run as user {user!r}, who cannot enter {directory} "
                f"on the way to the store {root}",
                remedy=f"choose a --store elsewhere (such as /var/lib/pgstrata), or let {user!r} "
                f"pass: chmod o+x {directory}",
            )
        if ended.exit_code != 0:
            raise ServerError(
                f"cannot run servers as user {user!r}",
                remedy="choose another user: --server-user USER",
                details=ended.stderr,
            )
