"""What lends databases where nothing else has a beginning and an end: for a whole process."""

import atexit
import os

from pgstrata.client.recipes import Recipe
from pgstrata.client.synchronous import Client
from pgstrata.testing.session import Session
from pgstrata.testing.words import recipe_of

_sessions: dict[int, Session] = {}
"""By process: one that was forked needs connections of its own."""


def session() -> Session:
    """What lends databases in this process, from its first use on."""
    if (known := _sessions.get(os.getpid())) is None:
        known = _sessions[os.getpid()] = Session(Client())
        atexit.register(known.close)
    return known


def recipe(wanted: Recipe | str) -> Recipe:
    """A recipe, which may be in the words of the command line; paths start from here.

    Raises ``InvalidArgumentError``.
    """
    if isinstance(wanted, Recipe):
        return wanted
    from pathlib import Path

    return recipe_of(wanted, session().client.configuration, Path.cwd())
