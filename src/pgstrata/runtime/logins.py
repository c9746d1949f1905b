"""Passwords of servers, each for one server only."""

import hashlib
import hmac
import secrets
from base64 import b64encode
from typing import NamedTuple

_ITERATIONS = 4096
"""A password that nobody can guess would do with one, but Java's driver accepts no fewer."""


class Login(NamedTuple):
    """A password, and what a server keeps of it."""

    password: str
    verifier: str


def new_login(password: str | None = None) -> Login:
    """A password, a random one if None, with its verifier, as in ``pg_authid``.

    It takes a few milliseconds.
    """
    password, salt = password or secrets.token_hex(16), secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    server = _hmac(salted, b"Server Key")
    encoded_salt, encoded_stored, encoded_server = map(_text, (salt, stored, server))
    verifier = f"SCRAM-SHA-256${_ITERATIONS}:{encoded_salt}${encoded_stored}:{encoded_server}"
    return Login(password, verifier)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _text(value: bytes) -> str:
    return b64encode(value).decode()
