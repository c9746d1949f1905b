"""``run:pgbench``: run pgbench against an instance."""

from pgstrata.cli import running
from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given

ABOUT = """
Runs pgbench against an instance: as you, in your directory. pgbench is the one of the instance's
PostgreSQL. Its arguments stand after `--`, or begin with the first that is not an option here.
Those that say what to connect to (-h, -p, -U, -d, a database's name, …) are refused; for more
messages write --debug.
"""


def run(context: Context, given: Given) -> int:
    """Become the tool."""
    return running.run(context, given, running.tool_of("pgbench", given))


COMMAND = Command(
    usage="run:pgbench [OPTIONS] [--] PGBENCH-ARGS",
    about=ABOUT,
    options=running.OPTIONS,
    examples=(
        "pgstrata run:pgbench --instance dev -- -i -s 10",
        "pgstrata run:pgbench -- -c 8 -T 30",
        "pgstrata prepare:psql -- -f schema.sql run:pgbench -- -n -f workload.sql -t 1000",
    ),
    run=run,
    passes_on=True,
)
