"""From an alias and a command line to a request or a tool: what ``KIND ARGS`` would stand for."""

from typing import TYPE_CHECKING, NamedTuple

from pgstrata.cli import running
from pgstrata.cli.aliases import files, reading
from pgstrata.cli.command import Context
from pgstrata.cli.options import Given, parse
from pgstrata.cli.preparing import WATCH_OPTIONS
from pgstrata.cli.recipe import FROM, INSTANCE_OPTIONS, PLAN_OPTIONS, request_of
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds import plugins
from pgstrata.kinds.plugin import KindPlugin, Option

if TYPE_CHECKING:
    from pgstrata.cli.aliases.files import AliasFile, Use
    from pgstrata.cli.aliases.reading import Recipe
    from pgstrata.domain.request import PrepareRequest


class Chosen(NamedTuple):
    """An alias that was named, with what else was given."""

    alias: "AliasFile"
    given: Given
    """``words`` are those after its name."""


def choose(context: Context, use: "Use", given: Given) -> Chosen:
    """The alias that was named. Raises ``InvalidArgumentError``."""
    command = files.COMMANDS[use][0]
    if not given.words:
        raise InvalidArgumentError(
            f"{command} needs the NAME of an alias, or a kind: {command}:psql",
            remedy="`pgstrata alias ls` lists the aliases of this repository",
        )
    name, rest = given.words[0], given.words[1:]
    if name.startswith("-"):
        raise InvalidArgumentError(f"unknown option {name}", remedy="--help lists the options")
    try:
        alias = files.find(context.work_dir, use, name)
    except InvalidArgumentError as error:
        kinds = reading.RUN_KINDS if use == "run" else plugins.BUILT_IN
        if name in kinds:
            raise InvalidArgumentError(
                error.message, remedy=f"if the kind is meant, write {command}:{name}"
            ) from error
        raise
    return Chosen(alias, given._replace(words=rest))


def refuse_words(chosen: Chosen) -> None:
    """Raise ``InvalidArgumentError`` for words after an alias, which has its arguments."""
    for word in chosen.given.words[:1]:
        if word.startswith("-"):
            raise InvalidArgumentError(
                f"{word} is no option that an alias can be given",
                remedy="--help lists them; arguments for a tool go into the file",
            )
        raise InvalidArgumentError(
            f'"{word}" cannot follow the alias {chosen.alias.name}, whose arguments are in '
            f"{chosen.alias.path.name}",
            remedy="options may follow it; write other arguments into another alias",
        )


def request(context: Context, chosen: Chosen) -> "PrepareRequest":
    """The request for an alias. Raises ``InvalidArgumentError``."""
    recipe = reading.read(chosen.alias)
    plugin = plugins.find(recipe.kind)
    assert plugin is not None
    if chosen.given.has(FROM.name):
        # A state has an image already.
        recipe = recipe._replace(image=None)
    own = arguments(plugin, recipe)
    options = (*own.options, *chosen.given.options)
    # Paths in the file are relative to the file.
    there = context._replace(work_dir=chosen.alias.path.parent)
    return request_of(plugin, there, Given(options, own.words))


def options_of(plugin: KindPlugin) -> tuple[Option, ...]:
    """The options of ``prepare:KIND``, which may stand in a file."""
    return (*PLAN_OPTIONS, *plugin.command_line.options, *INSTANCE_OPTIONS, *WATCH_OPTIONS)


def arguments(plugin: KindPlugin, recipe: "Recipe") -> Given:
    """An alias's arguments, parsed as those of ``prepare:KIND``.

    Raises ``InvalidArgumentError``.
    """
    own = parse(recipe.args, options_of(plugin), pass_on=True)
    image = (("--image", recipe.image),) if recipe.image is not None else ()
    return Given((*image, *own.options), own.words)


def check(context: Context, alias: "AliasFile", recipe: "Recipe") -> None:
    """Raise ``InvalidArgumentError`` if its command would refuse an alias's arguments."""
    if alias.use == "run":
        tool_of(alias, recipe)
        return
    plugin = plugins.find(recipe.kind)
    assert plugin is not None
    there = context._replace(work_dir=alias.path.parent)
    request_of(plugin, there, arguments(plugin, recipe), stdin=lambda: "")


def tool_of(alias: "AliasFile", recipe: "Recipe") -> tuple[running.Tool, Given]:
    """The tool of an alias, to be run in the file's directory, and its own options.

    Raises ``InvalidArgumentError``.
    """
    own = parse(recipe.args, running.OPTIONS, pass_on=True)
    name = None if recipe.kind == "exec" else recipe.kind
    return running.tool_of(name, own)._replace(directory=alias.path.parent), own
