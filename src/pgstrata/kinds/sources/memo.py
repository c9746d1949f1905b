"""Results kept by the digests of contents, so that no file is parsed twice."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePath
from typing import BinaryIO, Generic, TypeVar

from pgstrata.kinds.sources.base import Seen, Sources

T = TypeVar("T")


class Memo(Generic[T]):
    """Calls ``make`` once for each content, and keeps the last ``size`` results. Thread-safe."""

    def __init__(self, make: Callable[[BinaryIO], T], size: int) -> None:
        self._make = make
        self._size = size
        self._made: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, sources: Sources, path: PurePath) -> tuple[Seen, T | None]:
        """The file at a path, and the result for it; None if there is no file.

        Raises like ``Sources.look``.
        """
        seen = sources.look(path)
        if seen.input.digest is None:
            return seen, None
        with self._lock:
            if seen.input.digest in self._made:
                self._made.move_to_end(seen.input.digest)
                return seen, self._made[seen.input.digest]
        try:
            seen, made = sources.read(path, self._make)
        except FileNotFoundError:
            return sources.look(path), None
        assert seen.input.digest is not None
        with self._lock:
            self._made[seen.input.digest] = made
            while len(self._made) > self._size:
                self._made.popitem(last=False)
        return seen, made
