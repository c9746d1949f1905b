r"""The arguments of ``\connect``, parsed as psql and libpq parse them."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pgstrata.kinds.psql.words import Word

_REUSE = b"-reuse-previous="
_URI = re.compile(
    rb"(?P<uri>postgres(?:ql)?://)(?:(?P<user>[^:@/?\[\]]*)@)?(?:/(?P<dbname>[^?]*))?", re.DOTALL
)
_PARAMETER = re.compile(
    rb"""\s* (?P<name>[^=\s]+) \s*=\s*
         (?: '(?P<quoted>(?:[^'\\]|\\.)*)' | (?!')(?P<plain>(?:[^\s\\]|\\.)*) ) \s*""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_QUOTED = re.compile(rb'"((?:[^"]|"")*)"?')


class Target(NamedTuple):
    r"""What a ``\connect`` connects to, on the same server. None for what stays the same."""

    database: bytes | None
    user: bytes | None


def target(words: Sequence[Word]) -> Target | None:
    """What psql connects to with these arguments, which have no variables in them.

    None if that may be another server, or if more than the database and the user may change.
    """
    values = [_without_quotes(word.without_semicolons().value) for word in words]
    if values and values[0].startswith(_REUSE):
        del values[0]
    database, user, host, port, *_ = (
        value if value not in (b"", b"-") else None for value in (*values, *[b""] * 4)
    )
    if host or port:
        return None
    if database is None or not (b"=" in database or _URI.match(database)):
        return Target(database, user)
    found = _parameters(database)
    if found is None:
        return None
    return Target(found.get(b"dbname"), found.get(b"user", user))


def _without_quotes(value: bytes) -> bytes:
    return _QUOTED.sub(lambda found: found[1].replace(b'""', b'"'), value)


def _parameters(connection: bytes) -> dict[bytes, bytes] | None:
    """What a connection string or URI says, if that is a database, a user or both."""
    if uri := _URI.match(connection):
        if uri.end() < len(connection):
            return None
        return {
            name.encode(): unquote_to_bytes(value)
            for name, value in uri.groupdict().items()
            if name != "uri" and value
        }
    parameters: dict[bytes, bytes] = {}
    position = 0
    while position < len(connection):
        found = _PARAMETER.match(connection, position)
        if found is None or found["name"] not in (b"dbname", b"user"):
            return None
        value = found["plain"] if found["quoted"] is None else found["quoted"]
        parameters[found["name"]] = _ESCAPED.sub(rb"\1", value)
        position = found.end()
    return parameters
