"""``alias check``: tell all that is wrong with alias files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pgstrata.cli import aliased
from pgstrata.cli.aliases import files, reading
from pgstrata.cli.aliases.files import AliasFile
from pgstrata.cli.aliases.reading import Fault, located
from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.text import one_line
from pgstrata.errors import InvalidArgumentError

ABOUT = """
Reads all aliases of the repository, or those given by path, and tells everything that is wrong with
them at once, with file and line. Exits with 1 if anything is. Whether the scripts that they name
are there is for `plan NAME` to tell.
"""


def run(context: Context, given: Given) -> int:
    """Check them."""
    every = files.every(context.work_dir)
    chosen = [_named(context.work_dir, word) for word in given.words] or every
    twice = Counter((one.name, one.use) for one in every)
    found = [
        (alias, fault)
        for alias in chosen
        for fault in (
            *_faults(context, alias),
            *(_twice(alias, every) if twice[alias.name, alias.use] > 1 else ()),
        )
    ]
    if context.json:
        print_document(
            {
                "checked": len(chosen),
                "faults": [{"file": str(alias.path), **fault._asdict()} for alias, fault in found],
            }
        )
    else:
        for alias, fault in found:
            said = located(alias.shown(context.work_dir), fault)
            print(one_line(f"{said} ({fault.remedy})"))
        count = f"{len(chosen)} alias{'' if len(chosen) == 1 else 'es'}"
        print(f"{count} checked, {len(found) or 'no'} fault{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


def _named(directory: Path, word: str) -> AliasFile:
    named = files.recognise(Path(word))
    if named is not None:
        return files.find(directory, named.use, word)
    known = files.every(directory)
    for use in files.COMMANDS:
        if "/" not in word and any((one.name, one.use) == (word, use) for one in known):
            return files.find(directory, use, word)
    return files.find(directory, "prep", word)


def _faults(context: Context, alias: AliasFile) -> Sequence[Fault]:
    """What is wrong with the file, or else with the arguments in it."""
    recipe, faults = reading.check(alias)
    if faults or recipe is None:
        return faults
    try:
        aliased.check(context, alias, recipe)
    except InvalidArgumentError as error:
        return [Fault(None, f"args: {error.message}", error.remedy or "correct them")]
    return ()


def _twice(alias: AliasFile, every: Sequence[AliasFile]) -> Sequence[Fault]:
    same = (one for one in every if (one.name, one.use) == (alias.name, alias.use))
    others = ", ".join(one.shown(alias.path.parent) for one in same if one != alias)
    text = f"the name {alias.name} is also that of {others}"
    return [Fault(None, text, "rename one, or name them by their paths")]


COMMAND = Command(
    usage="alias check [NAME…]",
    about=ABOUT,
    options=(),
    examples=("pgstrata alias check", "pgstrata alias check db/shop.prep.pgstrata.yaml"),
    run=run,
)
