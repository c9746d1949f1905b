"""``watch``: follow a job."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.follow import watch
from pgstrata.cli.options import Given, whole_number
from pgstrata.cli.prepared import show_ending
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

ABOUT = """
Follows a job from its first event to its last, then prints its result: DSN=… or the plan. Ctrl+C
asks whether to stop the job, detach from it or continue watching.
"""


def run(context: Context, given: Given) -> int:
    """Follow the job."""
    if len(given.words) != 1:
        raise InvalidArgumentError(
            "watch needs one job id", remedy="`pgstrata ls --jobs` lists the jobs"
        )
    start = given.read("--from", whole_number) or 0
    engine = context.engine()
    show_ending(context, watch(context, engine, given.words[0].lower(), start=start))
    return 0


COMMAND = Command(
    usage="watch [OPTIONS] JOB",
    about=ABOUT,
    options=(Option(("--from",), "start at this event; the first is 0", "N"),),
    examples=("pgstrata watch 5f0c2a9d4be14c6f8a3d7e1b2c4f6a80",),
    run=run,
)
