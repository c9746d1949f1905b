"""``alias create``: write an alias file."""

import sys

from pgstrata.cli import aliased
from pgstrata.cli.aliases import files, reading, writing
from pgstrata.cli.aliases.reading import Recipe
from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.near import option_hint
from pgstrata.cli.options import Given
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds import plugins
from pgstrata.kinds.plugin import Option

ABOUT = """
Writes an alias: NAME.prep.pgstrata.yaml for `prepare:KIND ARGS`, NAME.run.pgstrata.yaml for
`run:KIND ARGS`, in the current directory, or where NAME leads, such as db/shop. The arguments are
written as they stand here, and paths among them are relative to the file from then on. An existing
file is overwritten only with --force.
"""

IMAGE = "--image"
FORCE = Option(("--force",), "overwrite the file if there is one")


def run(context: Context, given: Given) -> int:
    """Check the command that it is to stand for, and write it."""
    if len(given.words) < 2:
        raise InvalidArgumentError(
            "alias create needs a NAME and what it stands for",
            remedy="pgstrata alias create shop prepare:psql -- -f schema.sql",
        )
    name, command, *words = given.words
    if name.startswith("--"):
        raise InvalidArgumentError(
            f"unknown option {name} before the NAME", remedy=option_hint(name, COMMAND.options)
        )
    use, recipe = _recipe(command, words)
    alias = writing.place(context.work_dir, use, name)
    aliased.check(context, alias, recipe)
    others = [
        one
        for one in files.every(context.work_dir)
        if (one.name, one.use) == (alias.name, use) and one.path != alias.path
    ]
    writing.write(alias, recipe, force=given.has(FORCE.name))
    for one in others:
        print(
            f"warning: {one.shown(context.work_dir)} has the same name: name them by their paths",
            file=sys.stderr,
        )
    if context.json:
        print_document({"name": alias.name, "file": str(alias.path)})
    else:
        print(alias.shown(context.work_dir))
    return 0


def _recipe(command: str, words: list[str]) -> tuple[files.Use, Recipe]:
    verb, _, kind = command.partition(":")
    if verb == "run" and kind in reading.RUN_KINDS:
        return "run", Recipe(kind, None, tuple(words))
    plugin = plugins.find(kind) if verb == "prepare" else None
    if plugin is None:
        raise InvalidArgumentError(
            f'an alias cannot stand for "{command}"',
            remedy="it stands for prepare:KIND or run:KIND, such as prepare:psql",
        )
    given = aliased.arguments(plugin, Recipe(kind, None, tuple(words)))
    with_value = {one.name for one in aliased.options_of(plugin) if one.metavar is not None}
    # The image has a field of its own.
    kept = [
        word
        for option, value in given.options
        if option != IMAGE
        for word in ((option, value) if option in with_value else (option,))
    ]
    args = (*kept, *(["--"] if kept else []), *given.words)
    return "prep", Recipe(kind, given.last(IMAGE), args)


COMMAND = Command(
    usage="alias create [--force] NAME prepare:KIND|run:KIND [ARGS]",
    about=ABOUT,
    options=(FORCE,),
    examples=(
        "pgstrata alias create shop prepare:psql --image postgres:17 -- -f schema.sql",
        "pgstrata alias create db/smoke run:psql -- -f smoke.sql",
    ),
    run=run,
    passes_on=True,
)
