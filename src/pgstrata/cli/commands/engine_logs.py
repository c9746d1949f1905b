"""``engine logs``: show the engine's log."""

import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

from pgstrata.cli.command import Command, Context
from pgstrata.cli.engine_options import STORE, refuse_endpoint
from pgstrata.cli.options import Given, whole_number
from pgstrata.errors import InvalidArgumentError, NotFoundError
from pgstrata.kinds.plugin import Option

ABOUT = "Shows the last lines of the engine's log, and with -f each new line."

DEFAULT_LINES = 50
_PART_BYTES = 256 * 1024
_POLL_SECONDS = 0.2


def run(context: Context, given: Given) -> int:
    """Show the tail of the log."""
    refuse_endpoint(context)
    if context.json:
        raise InvalidArgumentError("the log is not JSON", remedy="omit --output json")
    wanted = given.read("--lines", whole_number)
    path = context.configuration.engine_log
    log = _open(path)
    _show(_tail(log, DEFAULT_LINES if wanted is None else wanted))
    while given.has("--follow"):
        # Looked at first: what was put aside is read to its end.
        replaced = _is_replaced(log, path)
        _show(log.read())
        if replaced:
            log.close()
            log = _open(path)
        else:
            time.sleep(_POLL_SECONDS)
    log.close()
    return 0


def _is_replaced(log: BinaryIO, path: Path) -> bool:
    """Whether the log was put aside for another one, which is there already."""
    try:
        return not os.path.samestat(os.fstat(log.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise NotFoundError(
            f"cannot read the log {path}: {error.strerror}",
            remedy="only an engine started in the background writes one: `pgstrata engine start`",
        ) from error


def _tail(log: BinaryIO, lines: int) -> bytes:
    """The last lines; from there on, it is read."""
    end = log.seek(0, 2)
    part = _PART_BYTES
    while True:
        log.seek(max(end - part, 0))
        kept = log.read().splitlines(keepends=True)
        # One line more: the first may be the end of a longer one.
        if len(kept) > lines or part >= end:
            return b"".join(kept[-lines:] if lines else [])
        part *= 2


def _show(data: bytes) -> None:
    sys.stdout.write(data.decode("utf-8", "replace"))
    sys.stdout.flush()


COMMAND = Command(
    usage="engine logs [OPTIONS]",
    about=ABOUT,
    options=(
        STORE,
        Option(("-f", "--follow"), "follow the log until Ctrl+C"),
        Option(("-n", "--lines"), f"how many lines; default: {DEFAULT_LINES}", "N"),
    ),
    examples=("pgstrata engine logs", "pgstrata engine logs -f"),
    run=run,
    wordless=True,
)
