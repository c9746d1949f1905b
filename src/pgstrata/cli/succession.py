"""The engine that has a job, and the next one, which takes the job over if the first is lost."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from pgstrata.cli.command import Context
from pgstrata.errors import UnauthorizedError, UnreachableError

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine

T = TypeVar("T")

LOST = (UnreachableError, UnauthorizedError)
"""What an engine that was lost raises: by now another, with another token, may listen there."""

_PATIENCE_SECONDS = 30.0
"""How long to look for a lost engine: as long as one may take to stop and another to start."""
_PAUSE_SECONDS = 0.2


class Succession:
    """One engine after the other, for one job."""

    def __init__(
        self, context: Context, engine: "Engine", job_id: str, tell: Callable[[str], None]
    ) -> None:
        """``tell`` shows a line to the user."""
        self.engine = engine
        """The engine that is talked to now."""
        self._context = context
        self._job_id = job_id
        self._tell = tell
        self._failures = 0
        self._give_up_at = 0.0

    def answered(self) -> None:
        """Note that the engine is there."""
        self._failures = 0

    def lose(self) -> None:
        """Note that the engine was lost, and turn to the next if this one does not come back.

        Raises ``UnreachableError`` if there was none for too long.
        """
        self._failures += 1
        if self._failures == 1:
            self._give_up_at = time.monotonic() + _PATIENCE_SECONDS
            return
        if time.monotonic() > self._give_up_at:
            raise UnreachableError(
                f"lost the engine while following job {self._job_id}",
                remedy=f"`pgstrata watch {self._job_id}` follows it again",
            )
        time.sleep(_PAUSE_SECONDS)
        if self._failures == 2:
            self._tell("lost the engine; looking for the one that continues the job")
        # An engine that died leaves its store to the next, which continues the job. One that
        # is stopping keeps its store from the next for a while.
        with suppress(UnreachableError):
            self.engine = self._context.engine()

    def ask(self, question: "Callable[[Engine], T]") -> T:
        """Ask what can be asked twice, of the next engine if this one is lost."""
        self.answered()
        while True:
            try:
                return question(self.engine)
            except LOST:
                self.lose()
