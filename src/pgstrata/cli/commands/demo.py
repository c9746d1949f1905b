"""``demo``: the first thing a newcomer runs."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

ABOUT = """
Prepares a small bookshop on an engine and a store of its own: shows the plan, builds it step by
step, runs a query, then prepares it again and shows what that saved. Leaves nothing behind.
"""


def run(context: Context, given: Given) -> int:
    """Run the demonstration."""
    if given.words:
        raise InvalidArgumentError(
            f'demo takes no "{given.words[0]}"', remedy="write `pgstrata demo` alone"
        )
    if context.json:
        raise InvalidArgumentError("the demo is for people", remedy="leave out --output json")
    from pgstrata.cli.demonstration import demonstrate

    return demonstrate(context, keep=given.has("--keep"))


COMMAND = Command(
    usage="demo [OPTIONS]",
    about=ABOUT,
    options=(Option(("--keep",), "leave the engine, its store and the scripts, and say where"),),
    examples=("pgstrata demo", "pgstrata demo --keep"),
    run=run,
)
