"""The bearer token that all but the public operations require."""

import hmac
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from pgstrata.errors import UnauthorizedError
from pgstrata.httpapi.errors import error_answer

CHALLENGE = {"WWW-Authenticate": "Bearer"}

TOKEN_SHOWN = "pgstrata.token_shown"  # noqa: S105 - the name of a key
"""In a scope's ``state``: what to call, if it is there, once a request has borne the token."""


class BearerAuth:
    """Admits requests that have the token or are public.

    It precedes the routes, so without the token one cannot even find out which paths exist.
    """

    def __init__(self, app: ASGIApp, token: str, public: Collection[tuple[str, str]]) -> None:
        """``public``: the (method, path) pairs that need no token.

        Raises ``ValueError`` for an empty token, which anyone could guess.
        """
        if not token:
            raise ValueError("the token must not be empty")
        self._app = app
        self._token = token.encode()
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._admits(scope):
            await self._app(scope, receive, send)
            return
        error = UnauthorizedError(
            "The bearer token is missing or wrong.",
            remedy="Send `Authorization: Bearer TOKEN` with the authToken of engine.json.",
        )
        await error_answer(error, headers=CHALLENGE)(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        if hmac.compare_digest(_bearer(scope), self._token):
            if told := scope.get("state", {}).get(TOKEN_SHOWN):
                told()
            return True
        return (scope["method"], scope["path"]) in self._public


def _bearer(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, credentials = bytes(value).partition(b" ")
            return credentials.strip() if scheme.lower() == b"bearer" else b""
    return b""
