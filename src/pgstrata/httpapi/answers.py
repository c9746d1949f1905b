"""Responses with a body: models as JSON, lists as an array or one object per line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pgstrata.api.codec import ENCODER, encode

JSON = "application/json"
NDJSON = "application/x-ndjson"

T = TypeVar("T")

PIECE_ITEMS: Final = 200
"""A longer list is made and sent in pieces of so many items, between which others are answered."""


def answer(
    body: object, status: int = 200, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Respond with one model as JSON."""
    return Response(encode(body), status, headers, media_type=JSON)


def list_answer(
    request: Request, items: Sequence[T], shown: Callable[[T], object] | None = None
) -> Response:
    """Respond with a list as a JSON array, or as NDJSON to clients that accept it.

    ``shown``: makes the model that is sent of an item, perhaps in a thread.
    """
    if any(NDJSON in accepted.lower() for accepted in request.headers.getlist("accept")):
        return _in_pieces(len(items), map(ENCODER.encode_lines, _pieces(items, shown)), NDJSON)
    return _in_pieces(len(items), _array(items, shown), JSON)


def answer_with_list(
    body: object, name: str, items: Sequence[object], status: int = 200
) -> Response:
    """Respond with one model as JSON; ``items`` are its list ``name``, which it comes without."""
    if not items:
        return answer(body, status)

    def pieces() -> Iterator[bytes]:
        yield encode(body).removesuffix(b"}") + f',"{name}":'.encode()
        yield from _array(items)
        yield b"}"

    return _in_pieces(len(items), pieces(), JSON, status)


def _in_pieces(size: int, pieces: Iterator[bytes], media_type: str, status: int = 200) -> Response:
    if size <= PIECE_ITEMS:
        return Response(b"".join(pieces), status, media_type=media_type)
    # Each piece is made in a thread, and only when the one before it was sent.
    return StreamingResponse(pieces, status, media_type=media_type)


def _array(items: Sequence[T], shown: Callable[[T], object] | None = None) -> Iterator[bytes]:
    between = b"["
    for piece in _pieces(items, shown):
        yield between + ENCODER.encode(piece)[1:-1]
        between = b","
    yield b"[]" if between == b"[" else b"]"


def _pieces(items: Sequence[T], shown: Callable[[T], object] | None) -> Iterator[Sequence[object]]:
    for start in range(0, len(items), PIECE_ITEMS):
        piece = items[start : start + PIECE_ITEMS]
        yield piece if shown is None else [shown(item) for item in piece]
