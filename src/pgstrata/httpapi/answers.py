"""Responses with a body: models as JSON, lists as an array or one object per line."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from pgstrata.api.codec import ENCODER, encode

JSON = "application/json"
NDJSON = "application/x-ndjson"


def answer(
    body: object, status: int = 200, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Respond with one model as JSON."""
    return Response(encode(body), status, headers, media_type=JSON)


def list_answer(request: Request, items: Sequence[object]) -> Response:
    """Respond with a list as a JSON array, or as NDJSON to clients that accept it."""
    if any(NDJSON in accepted.lower() for accepted in request.headers.getlist("accept")):
        return Response(ENCODER.encode_lines(items), media_type=NDJSON)
    return Response(ENCODER.encode(items), media_type=JSON)
