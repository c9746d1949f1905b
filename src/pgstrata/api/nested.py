"""Results of deletions as JSON and back, however deep their trees.

msgspec goes as deep as Python's stack and a chain of states may be longer, so each node is encoded
and decoded by itself.
"""

import re
from collections.abc import Iterator

import msgspec

from pgstrata.domain.deletion import DeleteNode, DeleteOutcome, DeleteResult
from pgstrata.domain.model import Model

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^"{}\[\]]+|"', re.DOTALL)
_ROOT = re.compile(rb'(?<!\\)"root"\s*:\s*\Z')
_CHILDREN = re.compile(rb'(?<!\\)"children"\s*:\s*\Z')
_LOOK_BACK = 64
"""How many bytes before a value are searched for its key."""

_encode = msgspec.json.Encoder().encode
_decode_node = msgspec.json.Decoder(DeleteNode).decode


class _Head(Model, frozen=True, kw_only=True):
    """The result of a deletion without its tree."""

    dry_run: bool
    outcome: DeleteOutcome


_decode_head = msgspec.json.Decoder(_Head).decode


def encode(result: DeleteResult) -> bytes:
    """The result as msgspec would encode it."""
    head = _encode(_Head(dry_run=result.dry_run, outcome=result.outcome))
    return b"".join((head[:-1], b',"root":', *_pieces(result.root), b"}"))


def _pieces(root: DeleteNode) -> Iterator[bytes]:
    waiting: list[DeleteNode | bytes] = [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, bytes):
            yield one
        elif not one.children:
            yield _encode(one)
        else:
            yield _encode(msgspec.structs.replace(one, children=()))[:-1]
            waiting.append(b"]}")
            for child in reversed(one.children):
                waiting += (child, b",")
            waiting[-1] = b',"children":['


class _Open:
    """An object that is being read: the result, or a node without those below it."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.depth = 0
        """How many of its own brackets are open."""
        self.listing = False
        """Whether its children are being read."""
        self.below: list[DeleteNode] = []

    def follows(self, key: re.Pattern[bytes]) -> bool:
        """Whether the value of one of its keys comes next."""
        return self.depth == 1 and key.search(self.text[-_LOOK_BACK:]) is not None

    def take(self, token: bytes) -> None:
        self.text += token
        self.depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))

    def node(self) -> DeleteNode:
        return msgspec.structs.replace(_decode_node(self.text), children=tuple(self.below))


def decode(data: bytes) -> DeleteResult:
    """The result in a response; unknown fields are ignored.

    Raises ``msgspec.ValidationError`` if it is something else, ``msgspec.DecodeError`` if it is not
    JSON at all.
    """
    result = _Open()
    opened = [result]
    for found in _TOKEN.finditer(data):
        token, inner = found[0], opened[-1]
        if token == b"{" and (inner.listing or (inner is result and inner.follows(_ROOT))):
            opened.append(_Open())
            opened[-1].take(token)
        elif inner.listing:
            if token.strip() not in (b"", b",", b"]"):
                raise msgspec.ValidationError("Expected `object` among the children")
            inner.listing = token != b"]"
        elif token == b"[" and inner is not result and inner.follows(_CHILDREN):
            inner.text += b"[]"
            inner.listing = True
        else:
            inner.take(token)
            if inner is not result and inner.depth == 0:
                opened.pop()
                opened[-1].below.append(inner.node())
                result.text += b"{}" if opened[-1] is result else b""
    head = _decode_head(result.text)
    if len(opened) > 1 or not result.below:
        raise msgspec.ValidationError("Object missing required field `root`")
    return DeleteResult(dry_run=head.dry_run, outcome=head.outcome, root=result.below[0])
