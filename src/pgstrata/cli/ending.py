"""Being ended by a signal where something has to be undone first."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from pgstrata.cli.command import Signalled
from pgstrata.system.signals import ENDING, handling


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have signals raise ``Signalled``, so that what must be undone is."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise Signalled(number)

    with handling(ENDING, leave):
        yield
