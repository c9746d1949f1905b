"""``prepare:psql``: a database made by SQL scripts."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.preparing import WATCH_OPTIONS, prepare
from pgstrata.cli.recipe import INSTANCE_OPTIONS, PLAN_OPTIONS, psql_request

ABOUT = """
Makes a database with psql and prints DSN=… once it accepts connections. Each -f or -c is a step,
and the result of every step is kept: what was built before, with the same content, is cloned in
milliseconds. Arguments after `--`, or from the first that is not an option here, are passed to
psql.
"""


def run(context: Context, given: Given) -> int:
    """Prepare the scripts."""
    return prepare(context, given, psql_request(context, given))


COMMAND = Command(
    usage="prepare:psql [OPTIONS] [--] PSQL-ARGS",
    about=ABOUT,
    options=(
        *PLAN_OPTIONS,
        *INSTANCE_OPTIONS,
        *WATCH_OPTIONS,
    ),
    examples=(
        "pgstrata prepare:psql -- -f schema.sql -f seed.sql",
        "pgstrata prepare:psql --image postgres:16 --name shop --ttl 2h -- -f schema.sql",
        "pgstrata prepare:psql -v tenant=acme -1 -f schema.sql -c 'analyze'",
        "pg_dump old | pgstrata prepare:psql -- -f -",
        'eval "$(pgstrata prepare:psql -- -f schema.sql)"; psql "$DSN"',
    ),
    run=run,
    passes_on=True,
)
