"""``watch``: follow a job."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.follow import watch
from pgstrata.cli.follower import Ending
from pgstrata.cli.options import Given, whole_number
from pgstrata.cli.prepared import show_ending
from pgstrata.errors import InvalidArgumentError, NotFoundError
from pgstrata.kinds.plugin import Option

ABOUT = """
Follows a job from its first event to its last, then prints its result: DSN=… or the plan. Ctrl+C
asks whether to stop the job, detach from it or continue watching; pressed twice, it stops the job.
"""


def run(context: Context, given: Given) -> int:
    """Follow the job."""
    if len(given.words) != 1:
        raise InvalidArgumentError(
            "watch needs one job id", remedy="`pgstrata ls --jobs` lists the jobs"
        )
    start = given.read("--from", whole_number) or 0
    engine = context.engine()
    ending = watch(context, engine, given.words[0].lower(), start=start)
    _check_instance(ending)
    show_ending(context, ending)
    return 0


def _check_instance(ending: Ending) -> None:
    """Raise ``NotFoundError`` if the job ended so long ago that nobody can use its result."""
    if (result := ending.result) is None:
        return
    try:
        ending.engines.ask(lambda engine: engine.instance(result.instance_id))
    except NotFoundError:
        raise NotFoundError(
            f"job {ending.job_id} succeeded, but its instance is gone",
            remedy="prepare again: what is left of its states in the cache is not built again",
        ) from None


COMMAND = Command(
    usage="watch [OPTIONS] JOB",
    about=ABOUT,
    options=(Option(("--from",), "start at this event; the first is 0", "N"),),
    examples=("pgstrata watch 5f0c2a9d4be14c6f8a3d7e1b2c4f6a80",),
    run=run,
)
