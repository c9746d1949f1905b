"""Sends calls of operations over one connection, for programs that wait.

Every function but ``send`` raises the error in the response; all raise ``UnreachableError``.
"""

from collections.abc import Iterator
from typing import TypeVar

from pgstrata.client.http import Answer, Http
from pgstrata.client.operation import Call

T = TypeVar("T")


def send(http: Http, call: Call[T]) -> Answer:
    """Send a request and return its response, whatever its status."""
    return http.ask(call.operation.method, call.path, query=call.query, body=call.body)


def ask(http: Http, call: Call[T]) -> T:
    """Send a request and return its result."""
    return call.read(send(http, call))


def ask_all(http: Http, call: Call[Iterator[T]]) -> list[T]:
    """Send a request for a list and return all of it, over a connection that stays open."""
    return call.read_all(send(http, call))


def stream(http: Http, call: Call[Iterator[T]], *, silence: float | None = None) -> Iterator[T]:
    """Send a request and return its results as they come.

    ``silence``: for how many seconds nothing may come.
    """
    lines: Iterator[T] = http.lines(
        call.path,
        call.operation.result,
        method=call.operation.method,
        headers=call.headers,
        query=call.query,
        body=call.body,
        silence=silence,
    )
    return lines
