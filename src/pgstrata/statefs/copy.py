"""Places as plain copies: for every file system, at the price of every byte."""

from pathlib import Path

from pgstrata import subprocesses
from pgstrata.statefs.places import DirectoryStateFS


class CopyStateFS(DirectoryStateFS):
    """Copies data directories byte by byte, but for their holes."""

    name = "copy"

    async def _copy_data(self, source: Path, data: Path) -> None:
        options = ("--archive", "--no-target-directory", "--reflink=never", "--sparse=auto")
        await subprocesses.run(["cp", *options, "--", source, data])
