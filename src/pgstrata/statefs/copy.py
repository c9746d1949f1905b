"""Volumes as plain copies: for any file system, but every byte is copied."""

from pathlib import Path

from pgstrata.statefs.directories import DirectoryStateFS, copy_volume


class CopyStateFS(DirectoryStateFS):
    """Copies data directories byte by byte, except for holes."""

    name = "copy"
    shares_data = False

    async def clone(self, source: Path, volume: Path) -> None:
        await copy_volume(source, volume, "never")
