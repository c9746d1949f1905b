"""``run:psql``: run psql against an instance."""

from pgstrata.cli import running
from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given

ABOUT = """
Runs psql against an instance: as you, in your directory, at your terminal, so that \\copy, \\e and
Ctrl+C work as ever. psql is the one of the instance's PostgreSQL; none need be on PATH. Its
arguments stand after `--`, or begin with the first that is not an option here. Those that say what
to connect to (-h, -p, -U, -d, a database's name, …) are refused.

If the instance's server has ended, it is started again from its data, and that is said. After
`prepare:… ARGS`, the instance is made for this one run and removed when psql ends.
"""


def run(context: Context, given: Given) -> int:
    """Become the tool."""
    return running.run(context, given, running.tool_of("psql", given))


COMMAND = Command(
    usage="run:psql [OPTIONS] [--] PSQL-ARGS",
    about=ABOUT,
    options=running.OPTIONS,
    examples=(
        'pgstrata run:psql -- -c "select version()"',
        "pgstrata run:psql --instance dev",
        'pgstrata run:psql --instance 3f2a9c1d -- -c "\\copy orders to orders.csv csv header"',
        "pgstrata run:psql < report.sql",
        'pgstrata prepare:psql -- -f schema.sql run:psql -- -c "select count(*) from orders"',
    ),
    run=run,
    passes_on=True,
    flags_of_tool=("--output",),
)
