"""Recipes in the words of the command line, as an ini file has them."""

import shlex
from contextlib import ExitStack
from pathlib import Path

import msgspec

from pgstrata.cli.command import Context
from pgstrata.cli.options import parse
from pgstrata.cli.recipe import PLAN_OPTIONS, request_of
from pgstrata.client.recipes import Recipe
from pgstrata.config.model import Configuration
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds import plugins


def recipe_of(text: str, configuration: Configuration, root: Path) -> Recipe:
    """The recipe that ``pgstrata prepare:TEXT`` would have in this directory.

    Raises ``InvalidArgumentError``.
    """
    try:
        kind, *words = shlex.split(text)
    except ValueError as error:
        raise _wrong(text, str(error)) from error
    kind = kind.removeprefix("prepare:")
    if (plugin := plugins.find(kind)) is None:
        raise _wrong(text, f"there is no kind {kind}")
    options = (*PLAN_OPTIONS, *plugin.command_line.options)
    with ExitStack() as resources:
        context = Context(configuration, "human", False, root, resources)
        request = request_of(plugin, context, parse(words, options, pass_on=True), _no_input)
    # How long an instance lives is not the recipe's.
    return Recipe(msgspec.structs.replace(request, instance_ttl=None))


def _no_input() -> str:
    raise InvalidArgumentError(
        "pgstrata_recipe reads standard input", remedy="name a file in place of `-`"
    )


def _wrong(text: str, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"pgstrata_recipe is `{text}`, and {why}",
        remedy="write what follows `pgstrata prepare:`, such as psql -f schema.sql",
    )
