"""What the system hands over to a program that is started: not words of any length."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pgstrata.errors import InvalidArgumentError

LONGEST: Final = 128 * 1024 - 1
"""How many bytes a word has at most (Linux's ``MAX_ARG_STRLEN``, without the NUL)."""

_MOST_BYTES = 6 << 20
"""How many all words have at most where a stack may be of any size."""

_POINTER_BYTES = 8
_REMEDY = "put it into a file, or send it as standard input"


def check(argv: Iterable[str | Path], env: Mapping[str, str]) -> None:
    """Raise ``InvalidArgumentError`` if no program can be started with this."""
    program, *words = map(str, argv)
    sizes = [len(os.fsencode(word)) for word in (program, *words)]
    sizes += [len(os.fsencode(f"{name}={value}")) for name, value in env.items()]
    if max(sizes) > LONGEST:
        raise InvalidArgumentError(
            f"an argument or a variable for {program} is longer than the system allows "
            f"({LONGEST} bytes)",
            remedy=_REMEDY,
        )
    most = min(os.sysconf("SC_ARG_MAX"), _MOST_BYTES)
    if sum(sizes) + (1 + _POINTER_BYTES) * len(sizes) > most:
        raise InvalidArgumentError(
            f"all arguments and variables for {program} together are longer than the system "
            f"allows ({most} bytes)",
            remedy=_REMEDY,
        )
