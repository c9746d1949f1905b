"""A progress bar for downloads, only on a terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from pgstrata.cli.text import columns, cut
from pgstrata.domain.sizes import rounded

_BAR = 24
_CLEAR = "\r\x1b[K"
_EVERY_SECONDS = 0.1


@contextmanager
def transfer_for(
    stream: TextIO, env: Mapping[str, str], *, quiet: bool
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows the bytes got and the total. Nothing stays on the screen."""
    if quiet or not stream.isatty() or env.get("TERM") == "dumb":
        yield lambda _got, _size: None
        return
    shown = -_EVERY_SECONDS

    def show(got: int, whole: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _EVERY_SECONDS:
            shown = now
            stream.write(_CLEAR + cut(bar(got, whole), (columns(stream) or 80) - 1))
        if got == whole:
            stream.write(_CLEAR)
        stream.flush()

    try:
        yield show
    finally:
        stream.write(_CLEAR)
        stream.flush()


def bar(got: int, whole: int) -> str:
    """Format a bar: ``[######..................]  25 %  5.9 MB of 23.7 MB``."""
    full = _BAR * got // whole
    drawn = "#" * full + "." * (_BAR - full)
    return f"[{drawn}] {100 * got // whole:3} %  {rounded(got)} of {rounded(whole)}"
