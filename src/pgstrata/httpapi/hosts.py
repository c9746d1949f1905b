"""The name a client calls the engine by: one that leads to it, and not to wherever its owner likes.

A page in a browser is let at what has its own host's name. Whoever owns that name can have it lead
to this machine once the page is there (DNS rebinding), and the page would then be talking to the
engine; but the browser says the name with every request.
"""

import ipaddress
import re
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from pgstrata.errors import HostNotAllowedError
from pgstrata.httpapi.errors import error_answer

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]*)?")


class HostCheck:
    """Lets a request through if its Host is the machine itself, the address it came to, or known.

    Without a Host it is let through: no browser leaves it out.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        """``names``: what the engine may be called beside that, names or addresses."""
        self._app = app
        self._names = frozenset(map(_normal, names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        came_to = scope.get("server") or ("", None)
        wrong = [host for host in hosts if not self._known(host, _normal(came_to[0]))]
        if not wrong:
            await self._app(scope, receive, send)
            return
        error = HostNotAllowedError(
            f"The engine is not called {wrong[0][:100]!r}.",
            remedy="Use the address it listens on, or add the name to its setting engine.hosts.",
        )
        await error_answer(error)(scope, receive, send)

    def _known(self, host: str, came_to: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = _normal(match["v6"] or match["name"])
        return name == came_to or name in self._names or _is_loopback(name)


def _normal(name: str) -> str:
    """A name or an address in one spelling."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.lower().removesuffix(".")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
