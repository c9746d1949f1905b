"""The statefs port: places on disk that hold one data directory each, cloned copy-on-write.

A *place* is a directory that holds a data directory ``place / DATA`` and, once it is whole, a
marker. What a data directory means, which places there are and who may use them is the
SnapshotOrchestrator's business; how it is copied is only known here.
"""

from pathlib import Path
from typing import Protocol

from pgstrata.domain.model import Model

DATA = "data"
"""The data directory's name inside its place."""


class Usage(Model, frozen=True, kw_only=True):
    """What a place holds on disk, as allocated: holes count nothing."""

    exclusive_bytes: int
    """What it holds alone: what would be free without it."""
    shared_bytes: int
    """What it holds together with other places."""


class StateFS(Protocol):
    """Copies data directories. Every method may be cancelled and may be killed at any moment."""

    @property
    def name(self) -> str:
        """The backend's name in settings and in ``status``."""

    @property
    def can_clone_live(self) -> bool:
        """Whether ``clone`` also copies, faithfully, what somebody has open who is held still."""

    async def create(self, place: Path) -> None:
        """Make ``place`` with an empty data directory, mode 0700. ``place`` must not exist."""

    async def clone(self, source: Path, place: Path) -> None:
        """Make ``place`` with a writable copy of the data directory of ``source``, and no marker.

        No one may be writing to ``source``, nor, without ``can_clone_live``, have files of it open.
        Contents, holes, hard links, symbolic links, owners, modes and times are kept. Raises
        ``FileNotFoundError`` when ``source`` holds no data directory and ``FileExistsError`` when
        ``place`` exists; leaves no ``place`` behind when it fails.
        """

    async def publish(self, building: Path, place: Path, marker: bytes) -> None:
        """Make what is in ``building`` durable, mark it whole, and make it visible as ``place``.

        The data must survive a power cut from here on, and where the file system can, it becomes
        read-only. What else lies in ``building`` is left behind: a place holds its data and its
        marker. ``building`` is gone afterwards; ``place`` appears in one step. Raises
        ``FileExistsError`` when ``place`` exists.
        """

    async def snapshot(self, source: Path, place: Path, marker: bytes) -> None:
        """As ``publish``, but what is in ``source`` stays there, to be written to further.

        A power cut may take the newest ones, those of the last half minute; of any that is left
        all is left.
        Who may write to it meanwhile, or have it open, is as with ``clone``. When it fails,
        ``source`` may be gone; there is no ``place`` then.
        """

    async def marker(self, place: Path) -> bytes | None:
        """The marker of a published place; None when there is no such place, or it is not whole."""

    async def places(self, area: Path) -> list[Path]:
        """The places directly below a directory, by name; empty when there is no such directory."""

    async def remove(self, place: Path) -> None:
        """Remove a place: gone for every reader in one step, then deleted. Twice is fine."""

    async def hide(self, place: Path) -> Path | None:
        """Do the first half of ``remove``; what is left is for ``delete``, or else ``purge``.

        None when nothing is left to do: there was no such place, or the disk was so full that it
        had to be deleted at once.
        """

    async def delete(self, hidden: Path) -> None:
        """Do the second half of ``remove``, which may take its time. Twice is fine."""

    async def purge(self, area: Path) -> None:
        """Delete what calls that were killed left directly below ``area``."""

    async def attach(self, place: Path) -> None:
        """Make a place's data directory be seen where it was, after the machine was started anew.

        Nothing to do is fine. Raises ``FileNotFoundError`` when what it shows is gone.
        """

    async def usage(self, place: Path, *, changed_since: float | None = None) -> Usage:
        """What a place holds on disk. Raises ``FileNotFoundError``.

        ``changed_since``: seconds since the epoch, after ``place`` was last cloned from or to; what
        did not change from then on is shared, where clones share, and need not be looked at.
        The time for looking is bounded: of what could not be looked at in it, all counts as held
        alone. To tell, it may have to write out what was not yet.
        """
