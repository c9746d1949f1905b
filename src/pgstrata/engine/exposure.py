"""Listening where others are: what it takes to do so, and the certificate that is shown there."""

import ipaddress
import re
import socket
import ssl
from pathlib import Path
from typing import NamedTuple

from pgstrata.errors import InvalidArgumentError, UnsafeListenError
from pgstrata.settings import EngineSettings

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class Certificate(NamedTuple):
    """What an engine proves with who it is."""

    file: Path
    key_file: Path
    pem: str
    """The certificate itself, without those that it was signed with."""


def certificate(settings: EngineSettings) -> Certificate | None:
    """The certificate to serve with, if one is set.

    Raises ``InvalidArgumentError`` when it is not whole, or the files cannot be used.
    """
    file, key = settings.tls_cert, settings.tls_key
    if file is None and key is None:
        return None
    if file is None or key is None:
        raise InvalidArgumentError(
            "TLS needs a certificate and its key", remedy="give both --tls-cert and --tls-key"
        )
    try:
        # Without words for a key that is encrypted, OpenSSL would ask for them at a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, key, password="")
        found = _CERTIFICATE.search(file.read_text(errors="replace"))
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(
            f"the certificate {file} and the key {key} cannot be used: {error}",
            remedy="give PEM files that fit each other, the key without a password, and that the "
            "engine's user can read",
        ) from error
    assert found is not None
    return Certificate(file, key, found[0])


def on_loopback(listener: socket.socket) -> bool:
    """Whether nobody on another machine can reach it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def check_listening(listener: socket.socket, *, safe: bool) -> None:
    """Raise ``UnsafeListenError`` when others could reach it, unless that is ``safe``."""
    if safe or on_loopback(listener):
        return
    raise UnsafeListenError(
        f"to listen on {listener.getsockname()[0]} without TLS would show the token to everybody "
        "on the way, and the token is a shell as the engine's user",
        remedy="give --tls-cert FILE and --tls-key FILE, or --insecure-listen where nobody listens "
        "in, such as on a private network of containers",
    )
