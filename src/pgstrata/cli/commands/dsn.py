"""``dsn``: print the DSN of an instance."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.targets import with_instance
from pgstrata.errors import ConflictError

ABOUT = """
Prints how to connect to an instance, with the password, and nothing else. INSTANCE is its name, or
8 or more characters of its id.
"""


def run(context: Context, given: Given) -> int:
    """Print the DSN."""
    engine = context.engine()
    entry = with_instance(engine, "dsn", given, engine.instance)
    if entry.status == "orphaned":
        raise ConflictError(
            f"instance {entry.instance_id} has no running server",
            remedy=f"start it again: pgstrata start {given.words[0]}; or put it back to its state: "
            f"pgstrata reset {given.words[0]}",
        )
    if context.json:
        print_document({"instance_id": entry.instance_id, "name": entry.name, "dsn": entry.dsn})
    else:
        print(entry.dsn)
    return 0


COMMAND = Command(
    usage="dsn INSTANCE",
    about=ABOUT,
    options=(),
    examples=("pgstrata dsn dev", 'psql "$(pgstrata dsn dev)"'),
    run=run,
)
