"""Standard input in a request's body, which may be tens of megabytes long.

To decode a string holds the interpreter's lock until it is done, and nobody is answered meanwhile.
So a long one is taken out of the body first, and decoded in pieces.
"""

import re
import secrets
from typing import Final, NamedTuple

import msgspec

LONG_BYTES: Final = 1 << 20
"""Bodies up to this length are decoded as they are."""

_PIECE_BYTES: Final = 1 << 16

_FIELD: Final = re.compile(rb'(?<!\\)"stdin"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}"')
_MARGIN: Final = 256
"""More than a match of it has."""

_PART: Final = re.compile(
    rb"""(?: [^"\\]+
           | \\u [dD][89abAB].. \\u [dD][c-fC-F]..   # one character in two halves
           | \\u (?! [dD][89abAB]) ....
           | \\ [^u] )*""",
    re.VERBOSE | re.DOTALL,
)
"""A part of a string in JSON that does not end within a character.

Nothing follows that could fail, so nothing is tried twice. Possessive quantifiers would say so, but
before 3.11.5 Python matches them wrongly.
"""


class Split(NamedTuple):
    """A body, and what was taken out of it."""

    body: bytes
    mark: str
    """What stands for the standard input in the body."""
    stdin: str


def split(body: bytes | bytearray) -> Split | None:
    """Take the standard input out of a body; None if that is not to be found, or cannot be read.

    Then a decoder will say what is wrong.
    """
    start = _start(body)
    if start is None:
        return None
    pieces = []
    position = start
    while body[position : position + 1] != b'"':
        end = _end_of_piece(body, position)
        if end == position:
            return None
        try:
            pieces.append(msgspec.json.decode(b'"' + body[position:end] + b'"', type=str))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        position = end
    mark = secrets.token_hex(16)
    return Split(bytes(body[:start]) + mark.encode() + body[position:], mark, "".join(pieces))


def _start(body: bytes | bytearray) -> int | None:
    """Where the text begins."""
    for position in range(0, len(body), _PIECE_BYTES):
        found = _FIELD.search(body, position, position + _PIECE_BYTES + _MARGIN)
        if found is not None:
            return found.end()
    return None


def _end_of_piece(body: bytes | bytearray, start: int) -> int:
    """Where the piece ends that begins there; that place itself if there is nothing to be read."""
    found = _PART.match(body, start, start + _PIECE_BYTES)
    assert found is not None
    end = found.end()
    while start < end < len(body) and body[end] & 0xC0 == 0x80:
        end -= 1  # within a character of several bytes
    return end
