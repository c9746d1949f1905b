"""What belongs to one run of tests, and where it is kept: in the stash of pytest's objects."""

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pgstrata.client.recipes import Recipe
    from pgstrata.client.synchronous import Client
    from pgstrata.errors import PgstrataError
    from pgstrata.testing.pg import Pg
    from pgstrata.testing.session import Notes, Session

SESSION: "pytest.StashKey[Session]" = pytest.StashKey()
"""What lends databases in this process."""
NOTES: "pytest.StashKey[Notes]" = pytest.StashKey()
"""What workers have told."""
FAILED = pytest.StashKey[bool]()
"""Whether a test failed; of a module, and what else has tests, whether one of them did."""
NEXT = pytest.StashKey[pytest.Item | None]()
"""The test after this one."""
ENVIRONMENT: "pytest.StashKey[Pg]" = pytest.StashKey()
"""The database of the variables for the application."""

HANDED = "pgstrata_states"
"""What the controller of workers hands to each: the id of the recipe's state."""


def session_of(config: pytest.Config) -> "Session":
    """What lends databases in this process, from its first use on."""
    if (known := config.stash.get(SESSION, None)) is not None:
        return known
    if not hasattr(config.known_args_namespace, "pgstrata_url"):
        pytest.fail("the plugin pgstrata is left out of this run, and this needs it", pytrace=False)
    from pgstrata.client.synchronous import Client
    from pgstrata.testing.session import Session

    client = Client(
        endpoint=config.known_args_namespace.pgstrata_url,
        image=config.getini("pgstrata_image") or None,
    )
    rebuild = config.known_args_namespace.pgstrata_rebuild
    session = Session(client, rebuild=rebuild and "PYTEST_XDIST_WORKER" not in os.environ)
    config.stash[SESSION] = session
    return session


def recipe_in_force(config: pytest.Config, client: "Client") -> "Recipe":
    """The recipe in the ini file. Raises ``InvalidArgumentError``."""
    from pgstrata.errors import InvalidArgumentError
    from pgstrata.testing.words import recipe_of

    words = config.getini("pgstrata_recipe")
    if not words:
        raise InvalidArgumentError(
            "there is no recipe for the database",
            remedy="set pgstrata_recipe, such as psql -f schema.sql, or override that fixture",
        )
    return recipe_of(words, client.configuration, config.rootpath)


def in_a_line(error: "PgstrataError") -> str:
    """What is wrong, and what to do about it."""
    return error.message if error.remedy is None else f"{error.message}: {error.remedy}"
