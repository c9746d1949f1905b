"""``cache explain``: would a prepare find everything in the cache, and why not."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given, parse
from pgstrata.cli.preparing import WATCH_OPTIONS
from pgstrata.cli.recipe import INSTANCE_OPTIONS, PLAN_OPTIONS, request_of
from pgstrata.cli.text import one_line, relative, short
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds import plugins

ABOUT = """
Says whether `prepare:KIND` with these arguments would find its last state in the cache, and
otherwise which step would be the first to run, and why: which file changed, that its state was
evicted, that nothing like it is known. Creates nothing. `plan:KIND` tells the same of every step.
"""

_PREFIX = "prepare:"


def run(context: Context, given: Given) -> int:
    """Explain the command that the words are. Exits with 0 for a hit and for a miss."""
    name = given.words[0] if given.words else ""
    kind = name.removeprefix(_PREFIX)
    plugin = plugins.find(kind) if name.startswith(_PREFIX) else None
    if plugin is None:
        raise InvalidArgumentError(
            f'"{name}" is not a command that prepares' if name else "there is nothing to explain",
            remedy="write what you would run: pgstrata cache explain prepare:psql -- -f schema.sql",
        )
    options = (*PLAN_OPTIONS, *plugin.command_line.options, *INSTANCE_OPTIONS, *WATCH_OPTIONS)
    own = parse(given.words[1:], options, pass_on=True)
    request = request_of(plugin, context, own)
    why = context.asked_engine().explain(request)
    if context.json:
        print_document(why)
        return 0
    text = one_line(relative(why.reason.text, context.work_dir))
    if why.decision == "hit":
        settled = ", and settled" if why.settled else ""
        print(f"hit: state {short(why.matched_state_id or '')} is in the cache{settled}")
        return 0
    first = sum(task.cached for task in why.tasks) + 1
    number = next(
        (n for n, task in enumerate(why.tasks, 1) if not task.cached and task.reason == why.reason),
        first,
    )
    step = one_line(relative(why.step or "", context.work_dir))
    print(f"miss: step {number} of {len(why.tasks)}, {step}: {text}")
    if first < number:
        print(f"steps from {first} on are run again: they left no state of their own")
    return 0


COMMAND = Command(
    usage="cache explain prepare:KIND [OPTIONS] [--] ARGS",
    about=ABOUT,
    options=(),
    examples=(
        "pgstrata cache explain prepare:psql -- -f schema.sql -f seed.sql",
        "pgstrata --output json cache explain prepare:lb -- update --changelog-file=master.xml",
    ),
    run=run,
    passes_on=True,
)
