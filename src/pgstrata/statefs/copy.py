"""Volumes as plain copies: for any file system, but every byte is copied."""

from pathlib import Path

from pgstrata.statefs.base import DATA
from pgstrata.statefs.directories import DirectoryStateFS, shown_when_whole
from pgstrata.system import faults, subprocesses


class CopyStateFS(DirectoryStateFS):
    """Copies data directories byte by byte, except for holes."""

    name = "copy"
    shares_data = False

    async def clone(self, source: Path, volume: Path) -> None:
        async with shown_when_whole(volume, made_from=source / DATA) as hidden:
            options = ("--archive", "--no-target-directory", "--reflink=never", "--sparse=auto")
            with faults.step("statefs.copy"):
                await subprocesses.run(["cp", *options, "--", source / DATA, hidden / DATA])
