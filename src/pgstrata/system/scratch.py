"""Directories for what is needed for a while, outside the store, and what a kill leaves of them."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "pgstrata-sources-"


class Scratch:
    """Makes such directories where the system wants them (``TMPDIR``)."""

    def __init__(self, store: Path | None = None) -> None:
        """``store``: whose engine, of which there is one at a time, makes them."""
        whose = "" if store is None else hashlib.sha256(os.fsencode(store.resolve())).hexdigest()
        self._prefix = f"{_PREFIX}{whose[:16]}-"

    def directory(self) -> "tempfile.TemporaryDirectory[str]":
        """A new one, which goes with its context."""
        return tempfile.TemporaryDirectory(prefix=self._prefix)

    def clear(self) -> None:
        """Remove what an earlier engine of the store left; what cannot be removed stays."""
        for left in Path(tempfile.gettempdir()).glob(f"{self._prefix}*"):
            if left.lstat().st_uid == os.geteuid():
                shutil.rmtree(left, ignore_errors=True)


NOBODYS = Scratch()
"""For a program that is no engine."""
