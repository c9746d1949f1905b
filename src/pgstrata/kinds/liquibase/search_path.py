"""Liquibase's search path as text: paths or ``file:`` URLs, separated by commas.

Liquibase has no escape for a comma, and does not take other paths literally: it decodes ``%2C`` and
``+`` in a directory's, drops what follows a ``!`` in an archive's, and turns backslashes into
slashes. A URL can have every character in it.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote

_SCHEME = "file:"
_MISREAD = re.compile(rf"[,%+!\\]|{_SCHEME}|\s\Z")
"""What Liquibase would not take literally in a path."""


def read(text: str) -> tuple[str, ...]:
    """The paths in a search path; relative ones stay relative."""
    return tuple(_read(part.strip()) for part in text.split(",") if part.strip())


def write(paths: Iterable[str]) -> str:
    """A search path of these absolute paths that Liquibase and ``read`` understand."""
    return ",".join(
        PurePosixPath(path).as_uri() if _MISREAD.search(path) else path for path in paths
    )


def _read(part: str) -> str:
    if not part.startswith(_SCHEME):
        return part
    return re.sub("^/+", "/", unquote(part.removeprefix(_SCHEME)))
