"""The statefs port: volumes, each of which holds one data directory, cloned copy-on-write.

A *volume* is a directory in the store with a data directory, ``volume / DATA``, in it and, once it
is complete, a marker. States, bases, workspaces and instances are volumes. What a data directory
means, which volumes there are and who may use them is up to the SnapshotOrchestrator; only the
adapters of this port know how one is copied.
"""

from pathlib import Path
from typing import Protocol

from pgstrata.domain.model import Model

DATA = "data"
"""The data directory's name inside its volume."""


class Usage(Model, frozen=True, kw_only=True):
    """What a volume holds on disk, as allocated: holes count nothing."""

    exclusive_bytes: int
    """What it holds alone: what would be free without it."""
    shared_bytes: int
    """What it holds together with other volumes."""


class StateFS(Protocol):
    """Copies data directories. Every method may be cancelled and may be killed at any moment."""

    @property
    def name(self) -> str:
        """The backend's name in settings and in ``status``."""

    @property
    def can_clone_live(self) -> bool:
        """Whether ``clone`` copies faithfully while a server that is frozen has the files open."""

    async def create(self, volume: Path) -> None:
        """Make ``volume`` with an empty data directory, mode 0700. ``volume`` must not exist."""

    async def clone(self, source: Path, volume: Path) -> None:
        """Make ``volume`` with a writable copy of the data directory of ``source``, and no marker.

        No one may be writing to ``source``, nor, without ``can_clone_live``, have files of it open.
        Contents, holes, hard links, symbolic links, owners, modes and times are kept. Raises
        ``FileNotFoundError`` when ``source`` holds no data directory and ``FileExistsError`` when
        ``volume`` exists; leaves no ``volume`` behind when it fails.
        """

    async def publish(self, building: Path, volume: Path, marker: bytes) -> None:
        """Make what is in ``building`` durable, mark it whole, and make it visible as ``volume``.

        The data must survive a power cut from here on, and where the file system can, it becomes
        read-only. What else lies in ``building`` is left behind: a volume holds its data and its
        marker. ``building`` is gone afterwards; ``volume`` appears in one step. Raises
        ``FileExistsError`` when ``volume`` exists.
        """

    async def snapshot(self, source: Path, volume: Path, marker: bytes) -> None:
        """As ``publish``, but what is in ``source`` stays there, to be written to further.

        A power cut may take the newest ones, those of the last half minute; of any that is left
        all is left.
        Who may write to it meanwhile, or have it open, is as with ``clone``. When it fails,
        ``source`` may be gone; there is no ``volume`` then.
        """

    async def marker(self, volume: Path) -> bytes | None:
        """The marker of a published volume; None when there is none, or it is not complete."""

    async def volumes(self, area: Path) -> list[Path]:
        """The volumes directly below a directory, by name; none when it does not exist."""

    async def remove(self, volume: Path) -> None:
        """Remove a volume: gone for every reader in one step, then deleted. Twice is fine."""

    async def hide(self, volume: Path) -> Path | None:
        """Do the first half of ``remove``; what is left is for ``delete``, or else ``purge``.

        None when nothing is left to do: there was no such volume, or the disk was so full that it
        had to be deleted at once.
        """

    async def delete(self, hidden: Path) -> None:
        """Do the second half of ``remove``, which may take its time. Twice is fine."""

    async def purge(self, area: Path) -> None:
        """Delete what calls that were killed left directly below ``area``."""

    async def attach(self, volume: Path) -> None:
        """Make a volume's data directory visible again after the machine was restarted.

        Nothing to do is fine. Raises ``FileNotFoundError`` when what it shows is gone.
        """

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        """What a volume holds on disk. Raises ``FileNotFoundError``.

        ``changed_since``: seconds since the epoch, after ``volume`` was last cloned. What
        has not changed since is shared, where clones share, and need not be examined. The time to
        examine files is bounded: what could not be examined in it counts as exclusive. Dirty pages
        may have to be written out first.
        """
