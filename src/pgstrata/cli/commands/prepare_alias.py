"""``prepare NAME``: build what an alias file says, and start an instance."""

from pgstrata.cli import aliased, running
from pgstrata.cli.aliases import reading
from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given, parse
from pgstrata.cli.preparing import WATCH_OPTIONS, prepare
from pgstrata.cli.recipe import INSTANCE_OPTIONS, PLAN_OPTIONS

ABOUT = """
Makes a database as an alias says: a file NAME.prep.pgstrata.yaml, anywhere in the repository, with
the kind, the image and the arguments of `prepare:KIND`. Paths in it are relative to the file.
Options given here, before or after NAME, count more than those in the file. If two files have the
name, give the path of one, with or without its ending.

`prepare NAME run NAME`, or `prepare NAME run:psql ARGS`, runs something against the instance and
removes it.
"""

OPTIONS = (*PLAN_OPTIONS, *INSTANCE_OPTIONS, *WATCH_OPTIONS)


def run(context: Context, given: Given) -> int:
    """Prepare, and run something if that is wanted."""
    chosen = aliased.choose(context, "prep", given)
    words = chosen.given.words
    if words and (words[0] == "run" or words[0].startswith("run:")):
        return _run_too(context, chosen)
    aliased.refuse_words(chosen)
    return prepare(context, chosen.given, aliased.request(context, chosen))


def _run_too(context: Context, chosen: aliased.Chosen) -> int:
    from pgstrata.cli import composite

    if wanted := composite.split(chosen.given):
        return composite.run_after(context, lambda: aliased.request(context, chosen), wanted)
    command, *rest = chosen.given.words
    if command != "run":
        aliased.refuse_words(chosen)
    options = parse(rest, running.OPTIONS, pass_on=True, own_words=1)
    what = aliased.choose(context, "run", options)
    aliased.refuse_words(what)
    tool, own = aliased.tool_of(what.alias, reading.read(what.alias))
    together = Given((*own.options, *options.options), ())
    composite.check(chosen.given, f"run {what.alias.name}", together)
    tool = running.at_revision(context, together, tool)
    return composite.run_tool(context, lambda: aliased.request(context, chosen), tool)


COMMAND = Command(
    usage="prepare [OPTIONS] NAME [OPTIONS]",
    about=ABOUT,
    options=OPTIONS,
    examples=(
        "pgstrata prepare shop",
        "pgstrata prepare shop --name dev --ttl 2h",
        "pgstrata prepare db/shop",
        "pgstrata prepare shop run smoke",
        "pgstrata prepare shop run:exec -- npm test",
    ),
    run=run,
    passes_on=True,
    own_words=1,
)
