"""``demo``: the first command that a newcomer runs."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

ABOUT = """
Prepares a small bookshop with an engine and a store of its own: shows the plan, builds it step by
step, runs a query, then prepares it again and shows how much faster that is. Leaves nothing behind.
"""


def run(context: Context, given: Given) -> int:
    """Run the demonstration."""
    if context.json:
        raise InvalidArgumentError("the demo has no JSON output", remedy="omit --output json")
    from pgstrata.cli.demonstration import demonstrate

    return demonstrate(context, keep=given.has("--keep"))


COMMAND = Command(
    usage="demo [OPTIONS]",
    about=ABOUT,
    options=(Option(("--keep",), "keep the engine, its store and the scripts, and show where"),),
    examples=("pgstrata demo", "pgstrata demo --keep"),
    run=run,
    wordless=True,
)
