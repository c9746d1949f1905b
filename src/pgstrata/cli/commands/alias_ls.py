"""``alias ls``: list the alias files of the repository."""

from collections.abc import Sequence
from typing import Any

from pgstrata.cli.aliases import files, reading
from pgstrata.cli.aliases.files import AliasFile
from pgstrata.cli.aliases.reading import Fault, Recipe
from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.text import table
from pgstrata.errors import InvalidArgumentError
from pgstrata.system.work_tree import work_tree

ABOUT = """
Lists the aliases of the repository that you are in, or else of the current directory and those
below: files NAME.prep.pgstrata.yaml for `prepare` and `plan`, NAME.run.pgstrata.yaml for `run`, and
older ones ending in .s9s.yaml. Not looked into are hidden directories, node_modules, and other
repositories inside this one.
"""


def run(context: Context, given: Given) -> int:
    """List them, the broken ones too."""
    if given.words:
        raise InvalidArgumentError(
            f'alias ls takes no "{given.words[0]}"', remedy="it lists all aliases"
        )
    found = [(alias, *reading.check(alias)) for alias in files.every(context.work_dir)]
    if context.json:
        print_document({"aliases": [_document(*one) for one in found]})
        return 0
    if not found:
        print(f"no aliases in {work_tree(context.work_dir)}")
        return 0
    rows = [
        [
            alias.name,
            files.COMMANDS[alias.use][0],
            "?" if recipe is None else recipe.kind,
            (recipe and recipe.image) or "-",
            alias.shown(context.work_dir) + (" (faulty: see `alias check`)" if faults else ""),
        ]
        for alias, recipe, faults in found
    ]
    print(table(("NAME", "COMMAND", "KIND", "IMAGE", "FILE"), rows))
    return 0


def _document(alias: AliasFile, recipe: Recipe | None, faults: Sequence[Fault]) -> dict[str, Any]:
    fields = recipe._asdict() if recipe is not None else dict.fromkeys(reading.FIELDS)
    return {
        "name": alias.name,
        "command": files.COMMANDS[alias.use][0],
        "file": str(alias.path),
        **fields,
        "faults": len(faults),
    }


COMMAND = Command(
    usage="alias ls",
    about=ABOUT,
    options=(),
    examples=("pgstrata alias ls", "pgstrata --output json alias ls"),
    run=run,
)
