"""Where a server in a cell has its data, and where its tablespaces are kept there.

A tablespace may be at any path. In a cell with mounts of its own, each of them leads to a directory
in the data directory, so that it is part of whatever is kept of the server. From outside, the links
of ``pg_tblspc`` lead anywhere or nowhere: they are read, and never followed.
"""

import re
from pathlib import PurePosixPath
from typing import Final

HOME: Final = "/postgresql"
"""Where every cell has a server's directories. Nothing else is there, whatever else is shown."""

DATA_DIR: Final = f"{HOME}/data"
"""The data directory's path in every cell, whichever it is."""

TABLESPACES: Final = "tablespaces"
"""The directory in it that is to tablespaces what the root is to their locations."""


def kept_at(location: str) -> str | None:
    """The path within the data directory of a tablespace's location; None if it has none."""
    path = PurePosixPath(location)
    if not path.is_absolute() or ".." in path.parts:
        return None
    if path.is_relative_to(DATA_DIR):
        return str(path.relative_to(DATA_DIR))
    return f"{TABLESPACES}{path}"


_REFUSED = re.compile(
    r'directory "/[^"\n]+" does not exist|could not set permissions on directory "/'
)


def is_refusal(said: str) -> bool:
    """Whether a tool says that its server cannot put a tablespace where it was told to."""
    return _REFUSED.search(said) is not None
