"""``postgres rm``: remove a PostgreSQL that `postgres install` installed."""

import json

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.postgres_options import home_of, major_of, note

ABOUT = """
Removes the releases of a major version that `pgstrata postgres install` has installed, and with the
last one the client programs. Refused while servers run from it. States that were made with it are
kept, but no server can be started on them until it is installed again.
"""


def run(context: Context, given: Given) -> int:
    """Remove it, and show which releases that were."""
    major = major_of(given, "pgstrata postgres rm")
    from pgstrata.runtime.packaged.removing import remove

    home = home_of(context)
    removed = remove(home, major, note(context))
    if context.json:
        print(json.dumps({"home": str(home), "removed": removed}))
    else:
        print(f"removed PostgreSQL {', '.join(removed)} from {home}")
    return 0


COMMAND = Command(
    usage="postgres rm MAJOR",
    about=ABOUT,
    options=(),
    examples=("pgstrata postgres rm 14",),
    run=run,
)
