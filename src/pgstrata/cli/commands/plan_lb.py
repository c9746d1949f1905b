"""``plan:lb``: what ``prepare:lb`` would do."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.preparing import plan
from pgstrata.cli.recipe import LIQUIBASE_OPTIONS, PLAN_OPTIONS, liquibase_request

ABOUT = """
Reads the changelog and shows the changesets that would run: which states are cached and which would
be built. Changes nothing.
"""


def run(context: Context, given: Given) -> int:
    """Plan the changelog."""
    return plan(context, liquibase_request(context, given))


COMMAND = Command(
    usage="plan:lb [OPTIONS] [--] LIQUIBASE-ARGS",
    about=ABOUT,
    options=(*PLAN_OPTIONS, *LIQUIBASE_OPTIONS),
    examples=(
        "pgstrata plan:lb -- update --changelog-file=db/changelog.xml",
        "pgstrata --output json plan:lb -- update --changelog-file=db/changelog.xml",
    ),
    run=run,
    passes_on=True,
)
