"""Servers that crash and start again, for ever, and let nobody in.

PostgreSQL starts its processes anew whenever one of them has crashed. Where files are missing that
every process needs, that takes most of a core until somebody stops it. Each time it notes in its
pid file that it is ready, so that file changes.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

from pgstrata.dbms.connection import check_it_answers
from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError
from pgstrata.runtime.postmaster import PID_FILE

LOOK_SECONDS = 2.0
"""How long between two looks at pid files."""

_MOST_IN_A_ROW = 3
"""At so many looks in a row a server may have started again before it must let us in."""

_ANSWER_SECONDS = 5.0
_PAUSE_SECONDS = 0.1

GONE = "the server was stopped because its data directory is gone, and it let nobody in"
FOR_EVER = (
    "the server was stopped because it crashed and started again for ever, and let nobody in: "
    "files of its data directory may be missing or damaged"
)


class Restarts:
    """How often a server was seen to have started again since the look before."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / PID_FILE
        self._changed = self._look()
        self._in_a_row = 0

    def are_many(self) -> bool:
        """Look once more; whether it starts again and again."""
        changed = self._look()
        if changed is None:
            return False  # moved aside while the files are copied
        self._in_a_row = 0 if changed == self._changed else self._in_a_row + 1
        self._changed = changed
        return self._in_a_row >= _MOST_IN_A_ROW

    def forget(self) -> None:
        """Count from now on."""
        self._in_a_row = 0

    def _look(self) -> int | None:
        with suppress(OSError):
            return self._file.lstat().st_mtime_ns
        return None


async def lets_us_in(server: Server) -> bool:
    """Whether a server answers within some seconds; it may be about to start again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            while True:
                with suppress(ServerError):
                    await check_it_answers(server)
                    return True
                await asyncio.sleep(_PAUSE_SECONDS)
    return False
