"""``plan NAME``: show what ``prepare NAME`` would do."""

from pgstrata.cli import aliased
from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.preparing import plan
from pgstrata.cli.recipe import PLAN_OPTIONS

ABOUT = """
Shows the steps of an alias, NAME.prep.pgstrata.yaml: which states are cached and which would be
built. Changes nothing.
"""


def run(context: Context, given: Given) -> int:
    """Plan what the alias says."""
    chosen = aliased.choose(context, "prep", given)
    aliased.refuse_words(chosen)
    return plan(context, aliased.request(context, chosen))


COMMAND = Command(
    usage="plan [OPTIONS] NAME [OPTIONS]",
    about=ABOUT,
    options=PLAN_OPTIONS,
    examples=("pgstrata plan shop", "pgstrata --output json plan shop --ref main"),
    run=run,
    passes_on=True,
    own_words=1,
)
