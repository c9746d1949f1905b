"""The statefs port: volumes, each of which holds one data directory, cloned copy-on-write.

A *volume* is a directory in the store that contains a data directory, ``volume / DATA``, and, once
it is complete, a marker. States, bases, workspaces and instances are volumes. The
SnapshotOrchestrator decides what a data directory means, which volumes exist and who may use them;
only the adapters of this port know how to copy one.
"""

from pathlib import Path
from typing import Protocol

from pgstrata.domain.model import Model

DATA = "data"
"""The data directory's name inside its volume."""


class Usage(Model, frozen=True, kw_only=True):
    """The bytes allocated to a volume on disk; holes do not count."""

    exclusive_bytes: int
    """What it holds alone, which removing it would free."""
    shared_bytes: int
    """What it shares with other volumes."""


class StateFS(Protocol):
    """Copies data directories. Every method may be cancelled, and the process killed, any time."""

    @property
    def name(self) -> str:
        """The backend's name in settings and in ``status``."""

    @property
    def can_clone_live(self) -> bool:
        """Whether ``snapshot`` makes a faithful copy while a frozen server has the files open."""

    async def copies_on_opening(self, area: Path) -> bool:
        """Whether clones in a directory take a whole file's space as soon as it is opened.

        PostgreSQL opens for writing even what it only reads. Otherwise a clone takes space for what
        is written to it.
        """

    async def create(self, volume: Path) -> None:
        """Make ``volume`` with an empty data directory, mode 0700. ``volume`` must not exist."""

    async def clone(self, source: Path, volume: Path) -> None:
        """Make ``volume`` with a writable copy of the data directory of ``source``, and no marker.

        No process may write to ``source``; a frozen server may have its files open.
        Contents, holes, hard links, symbolic links, owners, modes and times are kept. Raises
        ``FileNotFoundError`` if ``source`` has no data directory and ``FileExistsError`` if
        ``volume`` exists; leaves no ``volume`` behind if it fails.
        """

    async def publish(self, building: Path, volume: Path, marker: bytes) -> None:
        """Make the data in ``building`` durable, mark it complete, and show it as ``volume``.

        From here on the data must survive a power failure, and it becomes read-only if the file
        system can do that. Other files in ``building`` are dropped: a volume contains its data and
        its marker. ``building`` is gone afterwards; ``volume`` appears in one step. Raises
        ``FileExistsError`` if ``volume`` exists, and ``PlantedFileError`` for data that PostgreSQL
        would never make: FIFOs, sockets, devices, programs that run as their owner.
        """

    async def snapshot(self, source: Path, volume: Path, marker: bytes) -> None:
        """Like ``publish``, but ``source`` stays and can be written to further.

        A power failure may take the newest volumes, those of the last half minute, but never part
        of one. ``source`` must be as unused as for ``clone`` and, without ``can_clone_live``, its
        files must not be open. If this fails, ``source`` may be gone, and there is no ``volume``.
        """

    async def marker(self, volume: Path) -> bytes | None:
        """The marker of a published volume; None if there is none, or the volume is incomplete."""

    async def altered(self, volume: Path, *, deep: bool = False) -> str | None:
        """How a published volume differs from what was published, for people; None if it does not.

        Names, types, modes, owners, sizes, times and links count; contents with ``deep``, if
        ``learn`` has read them. Of what an earlier version published nothing is known.
        """

    async def learn(self, volume: Path) -> bool:
        """Read the contents of a published volume, for ``altered``.

        False if they are known already, or nothing is known of it. Raises ``FileNotFoundError``,
        and ``PlantedFileError`` for files that were changed.
        """

    async def is_learnt(self, volume: Path) -> bool:
        """Whether ``learn`` has read the contents of a published volume."""

    async def volumes(self, area: Path) -> list[Path]:
        """The volumes directly below a directory, by name; none if it does not exist."""

    async def remove(self, volume: Path) -> None:
        """Remove a volume: hide it from all readers in one step, then delete it.

        Does nothing if it is gone already.
        """

    async def hide(self, volume: Path) -> Path | None:
        """Do the first half of ``remove``, and return what is left for ``delete`` or ``purge``.

        None if nothing is left to do: there was no such volume, or the disk was so full that it
        had to be deleted immediately.
        """

    async def delete(self, hidden: Path) -> None:
        """Do the second half of ``remove``, which may take long. May be called again."""

    async def purge(self, area: Path) -> None:
        """Delete what killed calls left directly below ``area``."""

    async def attach(self, volume: Path) -> None:
        """Make a volume's data directory visible again after the machine was restarted.

        Does nothing if it is visible. Raises ``FileNotFoundError`` if the data is gone.
        """

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        """The space that a volume takes on disk. Raises ``FileNotFoundError``.

        ``changed_since``: seconds since the epoch, after ``volume`` was last cloned. Files that
        have not changed since are shared, on backends that share, and need not be examined. The
        time for examining files is limited; those not examined in time count as exclusive. Dirty
        pages may have to be written out first.
        """
