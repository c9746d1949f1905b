"""``reset``: put an instance back to its state."""

import sys

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.targets import with_instance
from pgstrata.cli.text import short
from pgstrata.kinds.plugin import Option

ABOUT = """
Throws away what was changed in an instance and puts it back to the state that it was prepared from.
Its id, port and password stay. INSTANCE is its name, or 8 or more characters of its id.
"""


def run(context: Context, given: Given) -> int:
    """Reset the instance, and print its DSN."""
    engine = context.engine()
    force = given.has("--force")
    entry = with_instance(engine, "reset", given, lambda found: engine.reset(found, force=force))
    if context.json:
        print_document(entry)
    else:
        state = short(entry.state_id)
        print(f"instance {short(entry.instance_id)} is back at state {state}", file=sys.stderr)
        print(f"DSN={entry.dsn}")
    return 0


COMMAND = Command(
    usage="reset [OPTIONS] INSTANCE",
    about=ABOUT,
    options=(Option(("-f", "--force"), "even if clients are connected"),),
    examples=("pgstrata reset dev", "pgstrata reset --force 3f2a9c1d"),
    run=run,
)
