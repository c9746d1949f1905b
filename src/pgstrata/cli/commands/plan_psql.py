"""``plan:psql``: what ``prepare:psql`` would do."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.preparing import plan
from pgstrata.cli.recipe import PLAN_OPTIONS, psql_request

ABOUT = """
Reads the scripts and shows their steps: which states are cached and which would be built. Changes
nothing.
"""


def run(context: Context, given: Given) -> int:
    """Plan the scripts."""
    return plan(context, psql_request(context, given))


COMMAND = Command(
    usage="plan:psql [OPTIONS] [--] PSQL-ARGS",
    about=ABOUT,
    options=PLAN_OPTIONS,
    examples=(
        "pgstrata plan:psql -- -f schema.sql -f seed.sql",
        "pgstrata --output json plan:psql -- -f schema.sql",
    ),
    run=run,
    passes_on=True,
)
