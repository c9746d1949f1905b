"""``run NAME``: run what an alias file says against an instance."""

from pgstrata.cli import aliased, running
from pgstrata.cli.aliases import reading
from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given

ABOUT = """
Runs against an instance what an alias says: a file NAME.run.pgstrata.yaml, anywhere in the
repository, with the kind (psql, pgbench or exec) and the arguments of `run:KIND`. It runs as you,
in the directory of the file, so that paths in it are relative to the file.
"""

OPTIONS = running.OPTIONS


def run(context: Context, given: Given) -> int:
    """Become the tool."""
    chosen = aliased.choose(context, "run", given)
    aliased.refuse_words(chosen)
    tool, own = aliased.tool_of(chosen.alias, reading.read(chosen.alias))
    options = (*own.options, *given.options)
    return running.run(context, Given(options, ()), tool)


COMMAND = Command(
    usage="run [OPTIONS] NAME [OPTIONS]",
    about=ABOUT,
    options=OPTIONS,
    examples=(
        "pgstrata run smoke",
        "pgstrata run smoke --instance dev",
        "pgstrata prepare shop run smoke",
    ),
    run=run,
    passes_on=True,
    own_words=1,
)
