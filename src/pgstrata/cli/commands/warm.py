"""``warm``: keep servers ready for a state."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given, whole_number
from pgstrata.cli.pinning import STATE_NEEDED, resolve_state, the_state
from pgstrata.cli.text import short
from pgstrata.kinds.plugin import Option

ABOUT = f"""
Has servers wait for whoever prepares this state next, who then gets one at once. The engine starts
them in the background, and others in their place as they are taken, until --count 0 or until the
state is removed. What is prepared again and again is kept warm without this (see pool.max).
{STATE_NEEDED}
"""


def run(context: Context, given: Given) -> int:
    """Say how many servers a state is to have."""
    count = given.read("--count", whole_number)
    ref = the_state("warm", given)
    engine = context.engine()
    state_id = resolve_state(engine, ref, "be kept warm")
    warmth = engine.warm(state_id, 1 if count is None else count)
    if context.json:
        print_document(warmth)
    elif warmth.wanted:
        servers = "server" if warmth.wanted == 1 else "servers"
        print(
            f"state {short(state_id)} is to have {warmth.wanted} warm {servers}; "
            f"ready now: {warmth.ready}"
        )
    else:
        print(f"state {short(state_id)} is not kept warm any more, unless demand calls for it")
    return 0


COMMAND = Command(
    usage="warm [OPTIONS] STATE",
    about=ABOUT,
    options=(Option(("--count",), "how many; 1 if not given, 0 for none", "N"),),
    examples=("pgstrata warm 3f2a9c1d", "pgstrata warm --count 4 3f2a9c1d"),
    run=run,
)
