"""``start``: have an instance's server run again."""

import sys

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.targets import resolve_instance
from pgstrata.cli.text import short
from pgstrata.kinds.plugin import Option

ABOUT = """
Starts the server of an instance again from its data, with the port and password that it had, if it
was killed or has ended. INSTANCE is its name, or 8 or more characters of its id. After the machine
was booted its data may be incomplete, since servers run without fsync: then `pgstrata reset` gives
a fresh one, and --anyway starts what there is. So it does if the engine stopped the server because
it took too much.
"""


def run(context: Context, given: Given) -> int:
    """Start the server if it does not run, and print its DSN."""
    engine = context.engine()
    instance_id = resolve_instance(engine, "start", given)
    started = engine.start(instance_id, anyway=given.has("--anyway"))
    if context.json:
        print_document(engine.instance(instance_id))
    else:
        what = "was started again from its data" if started.restarted else "runs already"
        print(f"instance {short(instance_id)} {what}", file=sys.stderr)
        print(f"DSN={started.dsn}")
    return 0


COMMAND = Command(
    usage="start [OPTIONS] INSTANCE",
    about=ABOUT,
    options=(Option(("--anyway",), "even if its data may be incomplete"),),
    examples=("pgstrata start dev", "pgstrata start --anyway 3f2a9c1d"),
    run=run,
)
