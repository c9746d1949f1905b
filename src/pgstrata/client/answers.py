"""An engine's error responses as errors."""

from collections.abc import Mapping

import msgspec

from pgstrata.api.codec import decode
from pgstrata.domain.job import ErrorBody
from pgstrata.errors import (
    NotFoundError,
    PgstrataError,
    UnauthorizedError,
    error_class,
    split_details,
)

_REMEDIES: Mapping[type[PgstrataError], str] = {
    UnauthorizedError: "set PGSTRATA_TOKEN to the token in that engine's engine.json",
    NotFoundError: "`pgstrata ls --all` lists everything",
    PgstrataError: "see `pgstrata engine logs`",
}


def error_from(status: int, data: bytes) -> PgstrataError:
    """The error in a response with a status of 400 or above."""
    try:
        body = decode(data, ErrorBody)
    except msgspec.DecodeError:
        return error_class(None, status)(
            f"the response with status {status} did not come from an engine",
            remedy="check the endpoint, and any proxy in front of it",
        )
    return error_of(body, status)


def error_of(body: ErrorBody, status: int = 500) -> PgstrataError:
    """The error that a body describes. The status decides if its code is unknown here."""
    kind = error_class(body.code, status)
    remedy, words = split_details(body.details)
    # The engine's own remedy for something it does not find is about HTTP routes.
    advice = None if kind is NotFoundError else remedy
    return kind(body.message, remedy=advice or _REMEDIES.get(kind), details=words, code=body.code)
