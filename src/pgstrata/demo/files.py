"""The example's files, laid out where psql can read them."""

import os
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copytree

from pgstrata.demo.bookshop import generate

SCRIPTS = ("schema.sql", "reference.sql", "purchases.sql")
"""One step each, in this order."""

QUERY = "select title, author, sold, revenue from best_seller order by revenue desc, title limit 5"

_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644


def lay_out(directory: Path) -> int:
    """Write scripts and data into a directory that does not exist yet; how many rows of data.

    Whatever the caller's umask, psql can read them as another user.
    """
    with as_file(files("pgstrata.demo") / "example") as scripts:
        copytree(scripts, directory)
    data = directory / "data"
    data.mkdir()
    rows = generate(data)
    for parent, _, names in os.walk(directory):
        Path(parent).chmod(_DIRECTORY_MODE)
        for name in names:
            (Path(parent) / name).chmod(_FILE_MODE)
    return rows
