"""Where a server in a cell has its data."""

from typing import Final

HOME: Final = "/postgresql"
"""Where every cell has a server's directories. Nothing else is there, whatever else is shown."""

DATA_DIR: Final = f"{HOME}/data"
"""The data directory's path in every cell, whichever it is."""
