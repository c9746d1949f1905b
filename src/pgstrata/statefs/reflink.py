"""Volumes whose files share their blocks: one ``FICLONE`` per file, on XFS, btrfs and others."""

from pathlib import Path

from pgstrata.statefs import extents
from pgstrata.statefs.base import Usage
from pgstrata.statefs.directories import DirectoryStateFS, copy_volume
from pgstrata.statefs.threads import in_thread


class ReflinkStateFS(DirectoryStateFS):
    """Copies every file by reference. The time grows with the number of files, not their size."""

    name = "reflink"
    shares_data = True

    async def clone(self, source: Path, volume: Path) -> None:
        await copy_volume(source, volume, "always")

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        return await in_thread(extents.usage, volume, changed_since)
