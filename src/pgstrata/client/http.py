"""JSON over HTTP to one engine: requests, responses and streams of JSON lines."""

import socket
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from pgstrata.api.codec import ENCODER, decode
from pgstrata.client.answers import error_from
from pgstrata.client.connection import Connection, Response
from pgstrata.errors import InvalidArgumentError, UnreachableError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

Body = msgspec.Struct | Mapping[str, Any]
"""What can be sent as JSON."""

_STALE_SECONDS = 2.0
"""The engine may close a connection that is idle for longer, just as it is used again."""

_CONTEXT_CHARS = 20
"""How many characters are shown on each side of one that cannot be sent."""


class Address(NamedTuple):
    """Where an engine listens."""

    url: str
    tls: bool
    host: str
    port: int
    path: str
    """The prefix of ``/v1``: empty, unless the engine is behind a proxy."""


def parse_endpoint(url: str) -> Address:
    """Parse ``http://host:port``. Raises ``InvalidArgumentError``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or not _in_a_head(parts.path):
        raise InvalidArgumentError(
            f'"{url}" is not the address of an engine', remedy="write it as http://HOST:PORT"
        )
    tls = parts.scheme == "https"
    return Address(url, tls, parts.hostname, port or (443 if tls else 80), parts.path.rstrip("/"))


class Answer(NamedTuple):
    """A response's status and body, from one address."""

    status: int
    data: bytes
    address: Address

    def read(self, kind: type[T]) -> T:
        """Decode the body. Raises ``UnreachableError`` if it is something else."""
        return _decoded(self.data, kind, self.address)


class Http:
    """Talks to one address, over one connection as long as that is open.

    Every method raises ``UnreachableError`` if the engine cannot be reached, goes away, does not
    answer in time, or answers with something that no engine would.
    """

    def __init__(
        self,
        address: Address,
        token: str | None,
        timeout: float | None,
        *,
        certificate: str | None = None,
    ) -> None:
        """``certificate``: the one that is to be shown there, as PEM; without it, one that this
        machine trusts. Raises ``InvalidArgumentError`` for what cannot be a token.
        """
        if token is not None and not _in_a_head(token):
            raise InvalidArgumentError(
                "the engine's token has a character that no token has",
                remedy="set PGSTRATA_TOKEN to the authToken in that engine's engine.json",
            )
        self.address = address
        self._certificate = certificate
        self._token = token
        self._timeout = timeout
        self._connection: Connection | None = None
        self._last_used = 0.0

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | None] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """Send a request and return its response, whatever its status.

        Raises ``InvalidArgumentError`` for a body that is not valid text.
        """
        try:
            response = self._send(method, path, query, body, {})
            data = response.read()
            if response.last:
                self.close()
        except OSError as error:
            raise self._unreachable(error) from error
        except KeyboardInterrupt:
            # The response is still to come, and must not be taken for that of the next request.
            self.close()
            raise
        return Answer(response.status, data, self.address)

    def lines(
        self,
        path: str,
        kind: type[T],
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | None] | None = None,
        body: Body | None = None,
        silence: float | None = None,
    ) -> Iterator[T]:
        """The models of a JSON-lines response, one by one, as they come.

        ``silence`` is how many seconds may pass without data. Raises the error of a response with a
        status of 400 or above. A stream that is cut off raises ``UnreachableError``; one that the
        engine completes just ends.
        """
        try:
            response = self._send(method, path, query, body, headers or {}, silence)
            if response.status >= 400:
                raise error_from(response.status, response.read())
            yield from _models(response, kind, self.address)
        except OSError as error:
            raise self._unreachable(error) from error
        finally:
            # A reader that stops early or is interrupted leaves a stream half-read.
            self.close()

    def another(self) -> "Http":
        """The same address, with a connection of its own."""
        return Http(self.address, self._token, self._timeout, certificate=self._certificate)

    @property
    def timeout(self) -> float | None:
        """How many seconds the engine may be silent; None for any time."""
        return self._timeout

    @property
    def certificate(self) -> str | None:
        """The certificate that is to be shown there, as PEM."""
        return self._certificate

    def written(
        self,
        path: str,
        query: Mapping[str, str | None],
        body: Body | None,
        headers: Mapping[str, str],
    ) -> tuple[str, dict[str, str], bytes]:
        """A request's target, headers and body, for those who send it in another way."""
        data = None if body is None else _encoded(body)
        return self._target(path, query), self._headers(data, headers), data or b""

    def lost(self, error: OSError) -> UnreachableError:
        """What they are to raise if they cannot."""
        return self._unreachable(error)

    def allow(self, timeout: float | None) -> None:
        """Set how many seconds the engine may be silent from now on; None for any time."""
        self._timeout = timeout
        if self._connection is not None:
            self._connection.allow(timeout)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None] | None,
        body: Body | None,
        headers: Mapping[str, str],
        silence: float | None = None,
    ) -> Response:
        connection = self._connected()
        if silence is not None:
            connection.allow(silence)
        data = None if body is None else _encoded(body)
        response = connection.request(
            method, self._target(path, query), self._headers(data, headers), data
        )
        self._last_used = time.monotonic()
        return response

    def _connected(self) -> Connection:
        if self._connection is not None and time.monotonic() - self._last_used > _STALE_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = self._opened()
        return self._connection

    def _opened(self) -> Connection:
        try:
            sock = socket.create_connection((self.address.host, self.address.port), self._timeout)
        except UnicodeError as error:
            raise OSError("there can be no host of this name") from error
        if self.address.tls:
            sock = _secured(sock, self.address.host, self._certificate)
        return Connection(sock, _netloc(self.address))

    def _target(self, path: str, query: Mapping[str, str | None] | None) -> str:
        given = {name: text for name, text in (query or {}).items() if text is not None}
        return self.address.path + path + ("?" + urlencode(given) if given else "")

    def _headers(self, data: bytes | None, more: Mapping[str, str]) -> dict[str, str]:
        headers = {"Accept": "application/json", **more}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if data is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _unreachable(self, error: OSError) -> UnreachableError:
        self.close()
        if (distrust := getattr(error, "verify_message", None)) is not None:
            return UnreachableError(
                f"cannot trust the engine at {self.address.url}: {distrust}",
                remedy="set SSL_CERT_FILE to its certificate, or to that of who signed it",
            )
        reason = "it does not answer" if isinstance(error, TimeoutError) else _reason(error)
        return UnreachableError(
            f"cannot reach the engine at {self.address.url}: {reason}",
            remedy="see `pgstrata engine status`",
        )


def segment(text: str) -> str:
    """Quote a segment of a path."""
    return quote(text, safe="")


def _in_a_head(text: str) -> bool:
    """Whether it can be a word in the head of a request as it is."""
    return all("!" <= character <= "~" for character in text)


def _secured(sock: socket.socket, host: str, certificate: str | None) -> "ssl.SSLSocket":
    # Most engines are reached without it, and it takes long to import.
    import ssl

    context = ssl.create_default_context()
    if certificate is not None:
        # The very certificate is known, whoever signed it, and whatever name is in it.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    secure = context.wrap_socket(sock, server_hostname=host)
    if certificate is not None:
        shown = secure.getpeercert(binary_form=True)
        if shown != ssl.PEM_cert_to_DER_cert(certificate):
            secure.close()
            raise ssl.SSLError("it shows another certificate than the one in engine.json")
    return secure


def _netloc(address: Address) -> str:
    """What the engine is called by: with the port, unless that goes without saying."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    if not host.isascii():
        host = host.encode("idna").decode()
    return host if address.port == (443 if address.tls else 80) else f"{host}:{address.port}"


def _reason(error: OSError) -> str:
    if error.strerror:
        return error.strerror.lower()
    return str(error) or "the connection was lost"


def _models(response: Response, kind: type[T], address: Address) -> Iterator[T]:
    for line in _lines(response):
        if line.strip():
            yield _decoded(line, kind, address)


def _lines(response: Response) -> Iterator[bytes]:
    begun: list[bytes] = []
    for data in response.pieces():
        first, *more = data.split(b"\n")
        begun.append(first)
        if more:
            yield b"".join(begun)
            yield from more[:-1]
            begun = more[-1:]
    if any(begun):
        raise ConnectionError("the connection was lost")


def _encoded(body: Body) -> bytes:
    try:
        return ENCODER.encode(body)
    except UnicodeEncodeError as error:
        # The names of files and the words of a command line may be any bytes.
        start, end = max(0, error.start - _CONTEXT_CHARS), error.end + _CONTEXT_CHARS
        raise InvalidArgumentError(
            f"the request is not UTF-8, near {error.object[start:end]!a}",
            remedy="give the file or the directory another name",
        ) from error


def _decoded(data: bytes, kind: type[T], address: Address) -> T:
    try:
        return decode(data, kind)
    except msgspec.ValidationError as error:
        raise UnreachableError(
            f"the server at {address.url} is not a pgstrata engine, or has another version: "
            f"{error}",
            remedy="make sure the engine has this version: `pgstrata engine status`",
        ) from error
    except msgspec.DecodeError as error:
        raise UnreachableError(
            f"the server at {address.url} is not a pgstrata engine",
            remedy="check the endpoint: --endpoint, PGSTRATA_ENDPOINT or the configuration",
        ) from error
