"""Throw-away PostgreSQL databases, prepared once and cloned in milliseconds.

``Client`` and ``AsyncClient`` talk to an engine; ``psql``, ``liquibase`` and ``state`` say how a
database is made; ``PgstrataError`` is the base of all errors, which are in ``pgstrata.errors``.
They are imported when they are first used.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # true to type checkers; importing typing takes longer than all else here
if TYPE_CHECKING:
    from typing import Any

    from pgstrata.client.asynchronous import AsyncClient as AsyncClient
    from pgstrata.client.asynchronous import AsyncInstance as AsyncInstance
    from pgstrata.client.recipes import Recipe as Recipe
    from pgstrata.client.recipes import liquibase as liquibase
    from pgstrata.client.recipes import psql as psql
    from pgstrata.client.recipes import state as state
    from pgstrata.client.synchronous import Client as Client
    from pgstrata.client.synchronous import Instance as Instance
    from pgstrata.errors import PgstrataError as PgstrataError

_PLACES = {
    "AsyncClient": "client.asynchronous",
    "AsyncInstance": "client.asynchronous",
    "Client": "client.synchronous",
    "Instance": "client.synchronous",
    "PgstrataError": "errors",
    "Recipe": "client.recipes",
    "liquibase": "client.recipes",
    "psql": "client.recipes",
    "state": "client.recipes",
}
"""The modules that public names are in."""


def __getattr__(name: str) -> "Any":
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
