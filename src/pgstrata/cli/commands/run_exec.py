"""``run:exec``: run any command against an instance."""

from pgstrata.cli import running
from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given

ABOUT = """
Runs any command of yours, in your directory, with DATABASE_URL, PGHOST, PGPORT, PGUSER, PGPASSWORD
and PGDATABASE set to an instance's, and no other of libpq's variables. What the instance's
PostgreSQL has, such as pg_dump, is found last on PATH.
"""


def run(context: Context, given: Given) -> int:
    """Become the tool."""
    return running.run(context, given, running.tool_of(None, given))


COMMAND = Command(
    usage="run:exec [OPTIONS] [--] CMD ARGS",
    about=ABOUT,
    options=running.OPTIONS,
    examples=(
        "pgstrata run:exec --instance dev -- pytest -x",
        "pgstrata run:exec -- pg_dump --schema-only",
        "pgstrata prepare:psql -- -f schema.sql run:exec -- npm test",
    ),
    run=run,
    passes_on=True,
)
