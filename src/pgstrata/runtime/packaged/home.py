"""The directory with every PostgreSQL that ``pgstrata postgres install`` has installed.

    18.4/             one server: bin, lib and share; its client programs are links in bin
    clients-18.6.3/   the client programs, once for all servers
    .downloads/       complete or partial downloads that are not unpacked yet
    .draft-…/         what is being unpacked or removed
    .lock             held by the process that changes anything here

A version's directory is not changed until it is removed: servers run from it, and states are named
by its content.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pgstrata.errors import ProgramError
from pgstrata.fetching.drafts import clear_drafts
from pgstrata.runtime.images import version_key
from pgstrata.system import locks

ROOT_HOME = Path("/var/lib/pgstrata-postgres")
"""Root's: servers run as another user, who cannot enter root's own directories."""

SOURCE = "pgstrata postgres install"
"""The source shown for such an installation."""

_MODE = 0o755


def default_home(env: Mapping[str, str]) -> Path:
    """Its default path: the system's for root, else the user's own (XDG)."""
    if os.geteuid() == 0:
        return ROOT_HOME
    base = env.get("XDG_DATA_HOME")
    own = Path(env["HOME"]) if env.get("HOME") else Path.home()
    return (Path(base) if base else own / ".local" / "share") / "pgstrata-postgres"


def servers(home: Path) -> dict[str, Path]:
    """The directory of every installed version, newest first."""
    found = {path.name: path for path in home.glob("[0-9]*.[0-9]*") if (path / "bin").is_dir()}
    return dict(sorted(found.items(), key=lambda item: version_key(item[0]), reverse=True))


def clients(home: Path) -> dict[Path, list[Path]]:
    """Every directory of client programs, with the servers that link to it."""
    found: dict[Path, list[Path]] = {path: [] for path in home.glob("clients-*")}
    for server in servers(home).values():
        for path in found:
            if (server / "bin" / "psql").resolve().is_relative_to(path.resolve()):
                found[path].append(server)
    return found


@contextmanager
def changing(home: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Lock the directory against other changes, and remove what killed processes left.

    The directory is created if needed, readable by all users, whatever the umask. ``waiting`` is
    called if another process holds the lock. Raises ``ProgramError``.
    """
    try:
        _make(home)
    except OSError as error:
        raise ProgramError(
            f"{home} cannot be made: {error.strerror}",
            remedy="choose another directory: --to DIR, and postgres.home in the configuration",
        ) from error
    with locks.wait_for(home / ".lock", waiting=waiting):
        clear_drafts(home)
        yield


def _make(directory: Path) -> None:
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(exist_ok=True)
        directory.chmod(_MODE)
