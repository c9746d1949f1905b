"""``plan:psql``: what ``prepare:psql`` would do."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.follow import follow
from pgstrata.cli.options import Given
from pgstrata.cli.prepared import show_ending
from pgstrata.cli.recipe import PLAN_OPTIONS, request

ABOUT = """
Reads the scripts and shows the steps they come to: which states are there already and which would
be built. Changes nothing.
"""


def run(context: Context, given: Given) -> int:
    """Submit a job that stops after its plan, and show that."""
    asked = {**request(context, given), "plan_only": True}
    engine, accepted = context.submit(asked)
    place = accepted.get("queue_place")
    show_ending(context, follow(context, engine, accepted["job_id"], queue_place=place))
    return 0


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
