"""Error responses: each error has its own status and the error body."""

import logging
from collections.abc import Mapping
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgstrata.errors import PgstrataError, machine_error
from pgstrata.httpapi.answers import answer

logger = logging.getLogger(__name__)

_UNEXPECTED: Final = PgstrataError(
    "The engine failed unexpectedly.",
    remedy="See the engine's log, and please report this as a bug.",
)


def error_answer(error: PgstrataError, *, headers: Mapping[str, str] | None = None) -> Response:
    """Make the response for an error."""
    return answer(error.body(), error.http_status, headers=headers)


class ErrorBoundary:
    """The outermost layer, which turns any exception into an error body.

    Once a response has started that is no longer possible. The exception is then passed on to the
    server, which closes the connection, so that no client takes half a response for a whole one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except ClientDisconnect:
            # The client left before its request was complete: no one would read a response.
            return
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await _answer_for(error, scope)(scope, receive, send)


def _answer_for(error: Exception, scope: Scope) -> Response:
    told = machine_error(error) if isinstance(error, OSError) else error
    known = told if isinstance(told, PgstrataError) else _UNEXPECTED
    if known.http_status >= 500:
        logger.error("%s %r failed", scope["method"], scope["path"], exc_info=error)
    return error_answer(known)
